"""Views of accounts, blocklist, federation, routes, endpoints, tokens and settings."""

from __future__ import annotations

from datetime import UTC, datetime

import falcon
from sqlalchemy import make_url

from chatmail_milter.config import example
from chatmail_milter.figures import accounts as figures
from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.endpoints import Endpoint, Endpoints
from chatmail_milter.store.policies import Blocks, Federations, Suspensions
from chatmail_milter.store.routes import Routes
from chatmail_milter.store.tokens import Token, Tokens
from mxdeliv_app.admin.data import (
    AccountsPage,
    BlocklistPage,
    EndpointsPage,
    EndpointWithHosts,
    FederationPage,
    Invitation,
    RoutesPage,
    SettingsPage,
    TokensPage,
    shallow,
)
from mxdeliv_app.admin.render import View
from mxdeliv_app.admin.requests import ProblemError
from mxdeliv_app.admin.sources import Sources
from mxdeliv_app.admin.views import ROWS, page

ADDRESS_MAX = 320  # characters


def accounts(sources: Sources, request: falcon.Request) -> View[AccountsPage]:
    """Accounts with a given prefix, in order of address, after the address `after`."""
    begins, after = _start(request, "begins").strip().lower(), _start(request, "after")
    engine = sources.store()
    found = figures.page(engine, begins, after, ROWS + 1)
    counted = sources.accounts.get()
    data = AccountsPage(
        # None if the first count takes long.
        counts=counted.value if counted else figures.count(engine, datetime.now(UTC).date()),
        begins=begins,
        after=after,
        further=found[ROWS - 1].address if len(found) > ROWS else None,
        accounts=found[:ROWS],
        suspended=Suspensions(engine).list(),
    )
    return View("accounts.html", "Accounts", data)


def blocks(sources: Sources, request: falcon.Request) -> View[BlocklistPage]:
    """The blocklist."""
    shown, pages = page(request, Blocks(sources.store()).list())
    return View("blocklist.html", "Blocklist", BlocklistPage(**pages, entries=shown))


def federation(sources: Sources, _request: falcon.Request) -> View[FederationPage]:
    """The federation rule and its exceptions."""
    found = Federations(sources.store()).get()
    return View("federation.html", "Federation", FederationPage(found.rule, sorted(found.exceptions)))


def routes(sources: Sources, _request: falcon.Request) -> View[RoutesPage]:
    """The operator's routes."""
    return View("routes.html", "Routes", RoutesPage(Routes(sources.store()).list()))


def endpoints(sources: Sources, request: falcon.Request) -> View[EndpointsPage]:
    """Cached facts about HTTPS at peers."""
    engine, now = sources.store(), datetime.now(UTC)
    hosts = EndpointHosts(engine).all(now)
    known = Endpoints(engine).list()
    others = sorted(hosts.keys() - {one.domain for one in known})
    known += [Endpoint(domain, None, None, 0, None, None) for domain in others]
    shown, pages = page(request, known)
    rows = [EndpointWithHosts(**shallow(one), hosts=hosts.get(one.domain, [])) for one in shown]
    return View("endpoints.html", "Endpoints", EndpointsPage(**pages, endpoints=rows))


def tokens(sources: Sources, _request: falcon.Request) -> View[TokensPage]:
    """Invitations."""
    now = datetime.now(UTC)
    rows = [_invitation(one, now) for one in Tokens(sources.store()).list()]
    return View("tokens.html", "Tokens", TokensPage(rows, sources.config.accounts.registration))


def settings(sources: Sources, _request: falcon.Request) -> View[SettingsPage]:
    """The configuration in force. Its only secret, a password in the store's URL, is hidden."""
    tree = example.tree(sources.config)
    tree["store"]["url"] = make_url(sources.config.store.url).render_as_string(hide_password=True)
    said = {
        name: {one.key: one.text for one in example.settings(section)}
        for name, section in example.sections(sources.config)
    }
    return View("settings.html", "Settings in force", SettingsPage(tree), {"texts": said})


def _start(request: falcon.Request, name: str) -> str:
    """A parameter that is compared with addresses in the store. Raises `ProblemError` (422)."""
    value = request.get_param(name, default="")
    # PostgreSQL's texts have no NUL.
    if len(value) > ADDRESS_MAX or "\0" in value:
        raise ProblemError(422, f"{name} is the beginning of an address", name)
    return value


def _invitation(token: Token, now: datetime) -> Invitation:
    expires = None if token.expires is None else datetime.fromtimestamp(token.expires, UTC)
    spent = token.spent(now.timestamp())
    return Invitation(token.id, token.created, token.uses, token.used, expires, spent)
