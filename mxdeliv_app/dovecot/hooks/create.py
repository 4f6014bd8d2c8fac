"""`POST /dovecot/create`: creates an account at its first login, if the rules allow it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import date

import falcon
import msgspec

from chatmail_milter import config
from chatmail_milter.accounts import credentials
from chatmail_milter.accounts.limits import Shortage
from chatmail_milter.address import network_of
from chatmail_milter.processes.ratelimit import Limiter
from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.reserved_names import NameReservedError
from mxdeliv_app.dovecot.guesses import Guesses
from mxdeliv_app.dovecot.hooks.login import Fingerprint, denied, peer_of, question, remember

_NOT_OPEN = {"closed": "registration is closed", "token": "registration is by token"}

# Dovecot answers it as it does a wrong password: nobody learns who had an account.
_NAME_RESERVED = "the name is reserved"

_log = logging.getLogger(__name__)


class _Create(msgspec.Struct, frozen=True):
    user: str
    password: str
    ip: str = ""
    fingerprint: Fingerprint | None = None


class Create:
    """Creates an account at its first login."""

    # A hash takes a processor to itself, and there is a process of this program for two of them. More would
    # keep look-ups waiting, while a thousand others get their accounts.
    _hashing = threading.BoundedSemaphore(2)

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        settings: config.Config,
        policy: Callable[[], Policy],
        shortage: Callable[[], Shortage | None],
        today: Callable[[], date],
        limiter: Limiter,
        guessed: Guesses,
    ) -> None:
        self._limiter = limiter
        self._guessed = guessed
        self._accounts = accounts
        self._settings = settings
        self._policy = policy
        self._shortage = shortage
        self._today = today

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Of concurrent requests one gets 201, the others 409; then Dovecot looks the account up."""
        asked = question(request, _Create)
        if denied(self._policy(), asked.user, asked.ip, response):
            return
        reason = self._refusal(asked)
        if reason:
            _refuse(response, 403, reason)
            return
        # Before the rate: phones with such an account try again and again, and share an address with others.
        if self._accounts().reserved(asked.user):
            _refuse(response, 403, _NAME_RESERVED)
            return
        short = self._shortage()
        if short:
            _refuse(response, 507, short)
            return
        # Before the hash, which is what an attempt costs. Who comes from nowhere is a program on this host.
        if asked.ip and not self._limiter.take(network_of(peer_of(asked.ip)), time.monotonic()):
            _refuse(response, 429, "rate")
            return
        with self._hashing:
            password_hash = credentials.hash_password(asked.password)
        try:
            # Whoever gets it logs in with it; that is not asked to be remembered once more.
            made = self._accounts().create(asked.user, password_hash, self._today())
        except NameReservedError:
            _refuse(response, 403, _NAME_RESERVED)
            return
        if made:
            _log.info("event=account-created")
            remember(self._guessed, asked.user, asked.ip, asked.fingerprint)
            response.status, response.media = 201, {"password": password_hash}
        else:
            response.status, response.media = 409, {"reason": "exists"}

    def _refusal(self, asked: _Create) -> str | None:
        rules, domain = self._settings.accounts, self._settings.mail.domain
        if rules.registration in _NOT_OPEN:
            return _NOT_OPEN[rules.registration]
        if rules.registration == "manual" and credentials.added_by_app(asked.password):
            return "registration is manual"
        return credentials.refuse(rules, domain, asked.user, asked.password)


def _refuse(response: falcon.Response, status: int, reason: str) -> None:
    _log.info('event=account-refused reason="%s"', reason)
    response.status, response.media = status, {"reason": reason}
