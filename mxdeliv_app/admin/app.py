"""The Falcon application behind `/admin`: access control, pages and orders.

Without a session, every path has the same answer, so that it reveals nothing. A page is a view (`views.py`,
`lists.py`). A change is a `POST` to `/admin/orders/NAME`, which needs the privileged password and the
session's token.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

import falcon
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.figures.waiting import QueueAwayError
from chatmail_milter.store import fault
from mxdeliv_app.admin import openapi, orders
from mxdeliv_app.admin.data import Ordered, Problem, SessionState
from mxdeliv_app.admin.login import LoginResource, LogoutResource
from mxdeliv_app.admin.order_client import AwayError
from mxdeliv_app.admin.pages import PAGES, AdminPage
from mxdeliv_app.admin.passwords import Role
from mxdeliv_app.admin.render import FIELDS, View, html, send, send_json
from mxdeliv_app.admin.requests import HOME, ProblemError, form
from mxdeliv_app.admin.sessions import COOKIE, Session, Sessions
from mxdeliv_app.admin.sources import Sources
from mxdeliv_app.serving import faults
from mxdeliv_app.serving.browsers import wants_html

LOGIN = f"{HOME}/login"
# Where an order's page was: one of ours, and no other host's.
_BACK = re.compile(rf"{HOME}(?:/[\w.~%()@\[\]:+-]+)*(?:\?[\w.~%&=+@\[\]:-]*)?", re.ASCII)
_FURTHER = 300  # characters of what chatmailctl says in an error


class Guard:
    """Middleware: requires a session, and sets security headers on every answer."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Called before routing."""
        response.set_headers(FIELDS)
        request.context.session = self._sessions.find(request.cookies.get(COOKIE, ""))
        if request.context.session is None and request.path != LOGIN:
            raise ProblemError(401, "Log in")

    def process_resource(self, request: falcon.Request, _response: Any, resource: Any, _params: Any) -> None:
        """Called after routing. Only `on_post` changes anything."""
        if request.method != "POST" or not hasattr(resource, "on_post"):
            return
        # https://www.w3.org/TR/fetch-metadata/: whoever sends it tells the truth.
        if request.get_header("Sec-Fetch-Site", default="none") not in ("same-origin", "none"):
            raise ProblemError(403, "The request is from another site")
        session: Session | None = request.context.session
        if session is not None and not _same(form(request).get("csrf", ""), session.token):
            raise ProblemError(403, "This form belongs to another session: reload the page", "csrf")


class ViewResource:
    """The resource of a view."""

    def __init__(self, page: AdminPage[Any], sources: Sources) -> None:
        self._view = page.view
        self._sources = sources

    def on_get(self, request: falcon.Request, response: falcon.Response, **which: str) -> None:
        """Returns the page."""
        send(request, response, self._view(self._sources, request, **which), request.context.session)

    on_head = on_get


class SessionResource:
    """The session's role and token, which programs need for orders."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Returns role and token."""
        session: Session = request.context.session
        send_json(response, SessionState(session.role, session.token))


class DescriptionResource:
    """The description of all of this for programs."""

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        """Returns the OpenAPI document."""
        response.media = openapi.document()


class OrderResource:
    """The resource of an order."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def on_post(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """Executes the order by `chatmailctl`, and redirects to the page it came from."""
        session: Session = request.context.session
        if not session.may_act:
            raise ProblemError(403, "This password is read-only")
        values = {key: value for key, value in form(request).items() if key not in ("csrf", "back")}
        try:
            orders.words(name, values)
        except orders.UnknownOrderError:
            raise ProblemError(404, "There is no such order") from None
        except orders.ValueOfFieldError as error:
            raise ProblemError(422, f"{error.field}: {error}", error.field) from None
        try:
            done = self._sources.order(name, values)
        except AwayError as error:
            command = " ".join(["chatmailctl", *orders.words(name, values)])
            raise ProblemError(503, f"{error}. As root: {command}") from None
        if done.status:
            said = done.err.removeprefix("Error: ").strip()[-_FURTHER:]
            # What chatmailctl says of what is not there begins so.
            raise ProblemError(
                404 if said.startswith("see `chatmailctl") else 409, said or "The order failed"
            )
        said = f"{done.out}\n{done.err}".strip() or "Done."
        if not wants_html(request):
            send_json(response, Ordered(said))
            return
        session.said = said
        back = form(request).get("back", HOME)
        raise falcon.HTTPSeeOther(back if _BACK.fullmatch(back) else HOME)


def create_app(
    sources: Sources, hashes: Mapping[Role, str], sessions: Sessions | None = None
) -> falcon.App[Any, Any]:
    """The application."""
    sessions = sessions or Sessions()
    app = falcon.App(middleware=[Guard(sessions)])
    app.req_options.strip_url_path_trailing_slash = True
    app.set_error_serializer(_serialize)
    app.add_error_handler(Exception, _bug)
    app.add_error_handler(SQLAlchemyError, _store_away)
    app.add_error_handler(QueueAwayError, _away)
    app.add_route(LOGIN, LoginResource(hashes, sessions))
    app.add_route(f"{HOME}/logout", LogoutResource(sessions))
    app.add_route(f"{HOME}/session", SessionResource())
    app.add_route(f"{HOME}/openapi.json", DescriptionResource())
    app.add_route(f"{HOME}/orders/{{name}}", OrderResource(sources))
    for path, page in PAGES.items():
        app.add_route(HOME + path, ViewResource(page, sources))
    return app


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("ascii"))


def _store_away(_request: Any, _response: Any, error: SQLAlchemyError, _params: Any) -> None:
    raise ProblemError(503, f"The store can't be used: {fault.explained(error).advice}", retry_after=5)


def _away(_request: Any, _response: Any, error: Exception, _params: Any) -> None:
    raise ProblemError(503, str(error), retry_after=5)


def _bug(request: falcon.Request, _response: Any, error: Exception, _params: Any) -> None:
    faults.log_bug(request, error)
    raise ProblemError(500, "A bug of this program: see the traceback in the journal")


def _serialize(request: falcon.Request, response: falcon.Response, error: falcon.HTTPError) -> None:
    """An error as a page, or as JSON. Without a session: the login form, and nothing else."""
    response.set_headers(FIELDS)
    session: Session | None = getattr(request.context, "session", None)
    problem = Problem(error.title or str(error.status), getattr(error, "field", None))
    if not wants_html(request):
        send_json(response, problem)
        return
    view = View("error.html" if session else "login.html", problem.title, problem)
    response.content_type = "text/html; charset=utf-8"
    response.data = html(request, view, session)
