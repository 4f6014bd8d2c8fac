"""`POST /dovecot/login`, and what all requests about a login share: parsing, the policy, fingerprints."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from datetime import date
from typing import Annotated, TypeVar

import falcon
import msgspec
from falcon import HTTPBadRequest, HTTPContentTooLarge

from chatmail_milter.address import Peer
from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.verdict import Action
from mxdeliv_app.dovecot.guesses import FINGERPRINT_BITS, Guesses

# An address and a password; Dovecot itself takes no more than 8 KiB of a client's line.
_MAX_BODY = 16 << 10

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

# Whole octets, as Dovecot writes it.
Fingerprint = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{4}\Z")]


class _Login(msgspec.Struct, frozen=True):
    user: str
    ip: str = ""
    fingerprint: Fingerprint | None = None


class Login:
    """Stores the day of a login."""

    def __init__(self, accounts: Callable[[], Accounts], today: Callable[[], date], guessed: Guesses) -> None:
        self._accounts = accounts
        self._today = today
        self._guessed = guessed

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Stores the day, and no time."""
        asked = question(request, _Login)
        if self._accounts().touch(asked.user, self._today()):
            remember(self._guessed, asked.user, asked.ip, asked.fingerprint)
            response.status = 204
        else:
            unknown(response)


def question(request: falcon.Request, kind: type[_T]) -> _T:
    """The request's JSON as `kind`. Raises 413 or 400."""
    body = request.stream.read(_MAX_BODY + 1)
    if len(body) > _MAX_BODY:
        raise HTTPContentTooLarge
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPBadRequest(title="Not the JSON that is expected here") from None


def peer_of(ip: str) -> Peer:
    """The client's IP address, None if Dovecot does not know it. Raises 400 if it is not an IP address."""
    try:
        return ipaddress.ip_address(ip) if ip else None
    except ValueError:
        raise HTTPBadRequest(title="Not an IP address") from None


def bits_of(fingerprint: str | None) -> int | None:
    """The stored bits of a fingerprint."""
    return None if fingerprint is None else int(fingerprint, 16) % (1 << FINGERPRINT_BITS)


def denied(policy: Policy, user: str, ip: str, response: falcon.Response) -> bool:
    """Whether `policy` denies `user` a login from `ip`; sets `response` then."""
    verdict = policy.login(user, peer_of(ip))
    if verdict.action is Action.PASS:
        return False
    _log.info("event=login-denied reason=%s", verdict.reason)
    response.status, response.media = 423, {"reason": verdict.reason}
    return True


def remember(guessed: Guesses, user: str, ip: str, fingerprint: str | None) -> None:
    """Stores the fingerprint of a right password."""
    found = bits_of(fingerprint)
    if found is not None:
        guessed.right(user, found, peer_of(ip))


def unknown(response: falcon.Response) -> None:
    """Sets the response for an unknown account."""
    response.status, response.media = 404, {"exists": False}
