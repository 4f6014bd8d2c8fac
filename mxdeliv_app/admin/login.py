"""Login and logout. After ten failures a minute from an address (IPv6: /64), every login gets 429.

So it does after forty from an IPv4 /24 or an IPv6 /48: with so many addresses, one client could guess all the
time, and the operator could not log in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address

import falcon

from chatmail_milter.address import network_of, site_of
from chatmail_milter.fair_share import BusyError, FairShare
from chatmail_milter.processes.ratelimit import Limiter, Rate
from mxdeliv_app.admin import passwords
from mxdeliv_app.admin.data import LoggedIn
from mxdeliv_app.admin.passwords import Role
from mxdeliv_app.admin.render import send_json
from mxdeliv_app.admin.requests import HOME, ProblemError, busy, form
from mxdeliv_app.admin.sessions import COOKIE, LONGEST, Sessions
from mxdeliv_app.serving.browsers import wants_html

FAILURES = Rate(per_minute=10, burst=10)
FAILURES_OF_SITE = Rate(per_minute=40, burst=40)
# A hash takes memory and a processor by design: one at a time, and who waits for longer is told so.
_TURN_TIMEOUT = 5.0  # seconds
# Fewer than gunicorn_conf's threads, so that users with a session get pages while strangers guess. All sites
# share these places.
_WAITING = 6


class LoginResource:
    """`POST` with `password` begins a session, and ends the one before."""

    def __init__(
        self, hashes: Mapping[Role, str], sessions: Sessions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hashes = hashes
        self._sessions = sessions
        self._clock = clock
        self._turn = threading.Lock()
        self._waiting = FairShare(_WAITING)
        self._failures = Limiter(FAILURES, slots=1 << 12), Limiter(FAILURES_OF_SITE, slots=1 << 12)

    def on_get(self, _request: falcon.Request, _response: falcon.Response) -> None:
        """Returns the login form."""
        raise ProblemError(401, "Log in")

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Begins a session."""
        networks, password = _networks(request), form(request).get("password", "")
        # Before it waits: who is refused takes no place of others.
        self._check(networks)
        try:
            with self._waiting.taken(networks[-1], 1):
                role = self._role(password, networks)
        except BusyError:
            raise busy() from None
        self._sessions.end(request.cookies.get(COOKIE, ""))
        response.set_cookie(
            COOKIE, self._sessions.begin(role), secure=True, http_only=True, same_site="Strict", path=HOME
        )
        if wants_html(request):
            raise falcon.HTTPSeeOther(HOME)
        send_json(response, LoggedIn(role, LONGEST))

    def _check(self, networks: tuple[str, ...]) -> None:
        limits = zip(self._failures, networks, strict=True)
        if not all(limit.may(network, self._clock()) for limit, network in limits):
            raise ProblemError(429, "Too many wrong passwords from your address, wait a minute", None, 60)

    def _role(self, password: str, networks: tuple[str, ...]) -> Role:
        if not self._turn.acquire(timeout=_TURN_TIMEOUT):
            raise busy()
        try:
            # Within the lock: of many that come at once, ten are looked at.
            self._check(networks)
            found = passwords.role(self._hashes, password)
            if found is None:
                for limit, network in zip(self._failures, networks, strict=True):
                    limit.charge(network, self._clock())
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


def _networks(request: falcon.Request) -> tuple[str, str]:
    """Returns the client's network and site. nginx, which alone may connect, names the client's address."""
    try:
        peer = ip_address(request.get_header("X-Real-IP") or "")
    except ValueError:
        return "", ""
    return network_of(peer), site_of(peer)
