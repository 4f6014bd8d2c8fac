"""`/new`: new credentials, as JSON for chatmail apps (POST), and as a page for browsers (GET, POST).

With open registration nothing is stored; the first login with these credentials creates the account. With
registration by token (`/new?token=…`) the account is created here, and a use of the token is counted. The
number of new accounts per network is limited in both cases (`accounts/limits.py`); nginx limits the rate of
requests. A GET never creates an account, because browsers may prefetch pages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import falcon

from chatmail_milter import config
from chatmail_milter.accounts import credentials, limits
from chatmail_milter.accounts.limits import Shortage
from chatmail_milter.address import network_named
from chatmail_milter.processes.ratelimit import Limiter
from mxdeliv_app.mxdeliv import wire
from mxdeliv_app.serving.browsers import wants_html
from mxdeliv_app.web.pages import HTML, Pages, send

if TYPE_CHECKING:
    from chatmail_milter.store.tokens import Tokens

_log = logging.getLogger(__name__)

CLOSED = "Only the operator creates accounts on this server"
NO_TOKEN = "New accounts need an invitation link from the operator"  # noqa: S105  (words)
SPENT = "This invitation is used up, expired or invalid"
NO_ROOM = "This server creates no new accounts at the moment, try again later"
TOO_MANY = "Too many new accounts from this address, try again in a minute"
AWAY = "This server can't create accounts at the moment, try again later"

# Tries of random addresses. Even one that exists already is very unlikely.
_ATTEMPTS = 3


class NewAccountResource:
    """The Falcon resource. `shortage`: see `limits.shortage_check`. `tokens`: for registration by token."""

    def __init__(
        self,
        settings: config.Config,
        shortage: Callable[[], Shortage | None],
        tokens: Callable[[], Tokens],
        limiter: Limiter | None = None,
    ) -> None:
        self._limiter = limiter or limits.limiter(settings.accounts)
        self._settings = settings
        self._pages = Pages(settings)
        self._shortage = shortage
        self._tokens = tokens

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """A page on how to get an account. For an invitation link that is not valid, it says so."""
        response.set_header("Cache-Control", "no-store")
        token = request.get_param("token") if self._settings.accounts.registration == "token" else None
        try:
            good = token is not None and self._tokens().usable(token)
        except _store_faults():
            response.status = 503
            send(response, HTML, self._pages.new(None, AWAY))
            return
        page = self._pages.new(token if good else None, SPENT if token is not None and not good else None)
        send(response, HTML, page)

    on_head = on_get

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Returns JSON with `email` and `password`, which apps expect, or an error status with `reason`."""
        response.set_header("Cache-Control", "no-store")
        response.append_header("Vary", "Accept")
        registration = self._settings.accounts.registration
        if registration == "closed":
            self._refuse(request, response, 403, "closed", CLOSED)
            return
        short = self._shortage()
        if short is not None:
            self._refuse(request, response, 503, short, NO_ROOM)
            return
        network = network_named(request.get_header("X-Real-IP") or "")
        # With open registration only a check: the account is counted at its first login, which creates it.
        if (
            registration != "token"
            and network is not None
            and not self._limiter.may(network, time.monotonic())
        ):
            self._refuse(request, response, 429, "rate", TOO_MANY)
            return
        try:
            made = self._redeem(request, response, network) if registration == "token" else self._fresh()
        except _store_faults() as fault:
            self._refuse(request, response, 503, type(fault).__name__, AWAY)
            return
        if made is not None and wants_html(request):
            send(response, HTML, self._pages.made(made))
        elif made is not None:
            response.media = {"email": made.address, "password": made.password}

    def _fresh(self) -> credentials.Credentials:
        return credentials.fresh(self._settings.accounts, self._settings.mail.domain)

    def _redeem(
        self, request: falcon.Request, response: falcon.Response, network: str | None
    ) -> credentials.Credentials | None:
        token = request.get_param("token")
        if not token:
            self._refuse(request, response, 403, "no-token", NO_TOKEN)
            return None
        tokens = self._tokens()
        for attempt in range(_ATTEMPTS):
            # Before hashing, which would cost more than the guess of somebody who guesses tokens.
            if not tokens.usable(token):
                break
            if attempt == 0 and network is not None and not self._limiter.take(network, time.monotonic()):
                self._refuse(request, response, 429, "rate", TOO_MANY)
                return None
            fresh = self._fresh()
            outcome = tokens.redeem(token, fresh.address, credentials.hash_password(fresh.password))
            if outcome == "made":
                _log.info("event=account-created by=token")
                return fresh
        self._refuse(request, response, 403, "token-spent", SPENT)
        return None

    def _refuse(
        self, request: falcon.Request, response: falcon.Response, status: int, why: str, reason: str
    ) -> None:
        _log.info("event=new-refused reason=%s", why)
        if status in (429, 503):
            response.set_header("Retry-After", str(wire.RETRY_AFTER_SECONDS))
        response.status = status
        if wants_html(request):
            send(response, HTML, self._pages.new(None, reason))
        else:
            response.media = {"reason": reason}


def _store_faults() -> type[Exception]:
    # Evaluated only after an exception, so that with open registration SQLAlchemy is never imported.
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError
