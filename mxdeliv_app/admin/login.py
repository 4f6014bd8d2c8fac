"""Login and logout. After ten failures a minute from an address (IPv6: /64), every login gets 429."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import falcon

from chatmail_milter.address import network_named
from chatmail_milter.processes.ratelimit import Limiter, Rate
from mxdeliv_app.admin import passwords
from mxdeliv_app.admin.data import LoggedIn
from mxdeliv_app.admin.passwords import Role
from mxdeliv_app.admin.render import send_json
from mxdeliv_app.admin.requests import HOME, ProblemError, busy, form, wants_html
from mxdeliv_app.admin.sessions import COOKIE, LONGEST, Sessions

FAILURES = Rate(per_minute=10, burst=10)
# A hash takes memory and a processor by design: one at a time, and who waits for longer is told so.
_TURN_TIMEOUT = 5.0  # seconds
# Fewer than the threads of gunicorn_conf: whoever is logged in gets pages while strangers guess.
_WAITING = 4


class LoginResource:
    """`POST` with `password` begins a session, and ends the one before."""

    def __init__(
        self, hashes: Mapping[Role, str], sessions: Sessions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hashes = hashes
        self._sessions = sessions
        self._clock = clock
        self._turn = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_WAITING)
        self._failures = Limiter(FAILURES, slots=1 << 12)

    def on_get(self, _request: falcon.Request, _response: falcon.Response) -> None:
        """Returns the login form."""
        raise ProblemError(401, "Log in")

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Begins a session."""
        if not self._waiting.acquire(blocking=False):
            raise busy()
        try:
            role = self._role(form(request).get("password", ""), _network(request))
        finally:
            self._waiting.release()
        self._sessions.end(request.cookies.get(COOKIE, ""))
        response.set_cookie(
            COOKIE, self._sessions.begin(role), secure=True, http_only=True, same_site="Strict", path=HOME
        )
        if wants_html(request):
            raise falcon.HTTPSeeOther(HOME)
        send_json(response, LoggedIn(role, LONGEST))

    def _role(self, password: str, network: str) -> Role:
        if not self._turn.acquire(timeout=_TURN_TIMEOUT):
            raise busy()
        try:
            # Within the lock: of many that come at once, ten are looked at.
            if not self._failures.may(network, self._clock()):
                raise ProblemError(429, "Too many wrong passwords from your address, wait a minute", None, 60)
            found = passwords.role(self._hashes, password)
            if found is None:
                self._failures.charge(network, self._clock())
                raise ProblemError(401, "The password is wrong", "password")
            return found
        finally:
            self._turn.release()


class LogoutResource:
    """`POST` ends the session."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Ends the session, and deletes the cookie."""
        self._sessions.end(request.cookies.get(COOKIE, ""))
        response.unset_cookie(COOKIE, path=HOME, same_site="Strict")
        if wants_html(request):
            raise falcon.HTTPSeeOther(f"{HOME}/login")
        response.media = {}


def _network(request: falcon.Request) -> str:
    """The client's network, whose failures count together. Its address is from nginx, the only client."""
    return network_named(request.get_header("X-Real-IP") or "") or ""
