"""`POST /dovecot/lookup` and `/dovecot/mailbox`: look up an account for a login or a delivery."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date

import falcon
import msgspec

from chatmail_milter import address
from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.accounts import Account, Accounts
from mxdeliv_app.dovecot.guesses import Guesses
from mxdeliv_app.dovecot.hooks.login import Fingerprint, bits_of, denied, peer_of, question, unknown


class _User(msgspec.Struct, frozen=True):
    user: str


class _Lookup(msgspec.Struct, frozen=True):
    user: str
    ip: str | None = None
    fingerprint: Fingerprint | None = None


class Lookup:
    """Returns an account with all data for its login, in one request because each one is expensive."""

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        policy: Callable[[], Policy],
        today: Callable[[], date],
        guessed: Guesses,
    ) -> None:
        self._accounts = accounts
        self._policy = policy
        self._today = today
        self._guessed = guessed

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers 404 to names that are not canonical; Dovecot sends them in lower case."""
        asked = question(request, _Lookup)
        if asked.ip is not None and denied(self._policy(), asked.user, asked.ip, response):
            return
        fingerprint, peer = bits_of(asked.fingerprint), peer_of(asked.ip or "")
        now = time.monotonic()
        # Names without an account are counted alike: else the answer would tell who has one.
        if fingerprint is not None and not self._guessed.may_check(asked.user, fingerprint, peer, now):
            response.status, response.media = 429, {"reason": "guesses"}
            return
        account = _find(self._accounts(), asked.user)
        if account is None:
            unknown(response)
            return
        seen = account.last_login is not None and account.last_login >= self._today()
        seen = seen and (fingerprint is None or self._guessed.knows(asked.user, fingerprint, peer))
        response.media = {
            "exists": True,
            "password": account.password_hash,
            "quota": account.quota,
            "seen": seen,
        }


class Mailbox:
    """Whether a mailbox exists, and its quota."""

    def __init__(self, accounts: Callable[[], Accounts]) -> None:
        self._accounts = accounts

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers 404 to names that are not canonical."""
        account = _find(self._accounts(), question(request, _User).user)
        if account is None:
            unknown(response)
        else:
            response.media = {"quota": account.quota}


def _find(accounts: Accounts, user: str) -> Account | None:
    """The account of `user`; None if the name is not canonical."""
    return accounts.lookup(user) if address.is_canonical(user) else None
