"""Views of accounts, blocklist, federation, routes, endpoints, tokens and settings."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import falcon
from sqlalchemy import make_url

from chatmail_milter.config import example
from chatmail_milter.figures import accounts as figures
from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.endpoints import Endpoint, Endpoints
from chatmail_milter.store.policies import Blocks, Federations, Suspensions
from chatmail_milter.store.routes import Routes
from chatmail_milter.store.tokens import Tokens
from mxdeliv_app.admin.render import View
from mxdeliv_app.admin.sources import Sources
from mxdeliv_app.admin.views import ROWS, page


def accounts(sources: Sources, request: falcon.Request) -> View:
    """Accounts with a given prefix, in order of address, after the address `after`."""
    begins = request.get_param("begins", default="").strip().lower()[:320]
    after = request.get_param("after", default="")[:320]
    engine = sources.store()
    found = figures.page(engine, begins, after, ROWS + 1)
    further = found[ROWS - 1].address if len(found) > ROWS else None
    data = {
        "counts": asdict(figures.count(engine, datetime.now(UTC).date())),
        "begins": begins,
        "after": after,
        "further": further,
        "accounts": [asdict(one) for one in found[:ROWS]],
        "suspended": Suspensions(engine).list(),
    }
    return View("accounts.html", "Accounts", data)


def blocks(sources: Sources, request: falcon.Request) -> View:
    """The blocklist."""
    shown, pages = page(request, list(Blocks(sources.store()).list()))
    return View("blocklist.html", "Blocklist", {"entries": [asdict(one) for one in shown], **pages})


def federation(sources: Sources, _request: falcon.Request) -> View:
    """The federation rule and its exceptions."""
    found = Federations(sources.store()).get()
    return View("federation.html", "Federation", {"rule": found.rule, "exceptions": sorted(found.exceptions)})


def routes(sources: Sources, _request: falcon.Request) -> View:
    """The operator's routes."""
    return View("routes.html", "Routes", {"routes": [asdict(one) for one in Routes(sources.store()).list()]})


def endpoints(sources: Sources, request: falcon.Request) -> View:
    """Cached facts about HTTPS at peers."""
    engine, now = sources.store(), datetime.now(UTC)
    hosts = EndpointHosts(engine).all(now)
    known = Endpoints(engine).list()
    others = sorted(hosts.keys() - {one.domain for one in known})
    known += [Endpoint(domain, None, None, 0, None, None) for domain in others]
    shown, pages = page(request, known)
    rows = [asdict(one) | {"hosts": [asdict(host) for host in hosts.get(one.domain, [])]} for one in shown]
    return View("endpoints.html", "Endpoints", {"endpoints": rows, **pages})


def tokens(sources: Sources, _request: falcon.Request) -> View:
    """Invitations."""
    now = datetime.now(UTC)
    rows = [
        asdict(one)
        | {
            "expires": None if one.expires is None else datetime.fromtimestamp(one.expires, UTC),
            "spent": one.spent(now.timestamp()),
        }
        for one in Tokens(sources.store()).list()
    ]
    return View(
        "tokens.html",
        "Tokens",
        {"tokens": rows, "registration": sources.config.accounts.registration},
    )


def settings(sources: Sources, _request: falcon.Request) -> View:
    """The configuration in force. Its only secret, a password in the store's URL, is hidden."""
    tree = example.tree(sources.config)
    tree["store"]["url"] = make_url(sources.config.store.url).render_as_string(hide_password=True)
    said = {
        name: {one.key: one.text for one in example.settings(section)}
        for name, section in example.sections(sources.config)
    }
    return View("settings.html", "Settings in force", {"settings": tree}, {"texts": said})
