"""`chatmail-recipients`: a policy service by which Postfix refuses recipients without an account at RCPT.

Socket-activated, for the ports for peers. A lookup in the database takes less than a millisecond. Dovecot's
quota-status would refuse the same recipients, but takes eight: a message with a thousand unknown recipients
kept an smtpd process busy for 8 s. Known recipients go on to quota-status. So do all recipients while the
database or this service is down: nothing is refused by mistake.

Against enumeration of accounts, unknown recipients are limited by GCRA (`ratelimit.py`) per IPv4 address
and IPv6 /64. Only the first reply about each unknown recipient counts. Beyond the limit, a peer gets `450`
about recipients that it has not asked for before, known or unknown; mail to those that it has asked for is
still accepted. Memory is fixed, and holds hashes of addresses, with a random key per process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from array import array
from collections.abc import Callable, Mapping
from functools import partial

import click

from chatmail_milter import address, codes
from chatmail_milter.address import network_named
from chatmail_milter.config import load_or_exit
from chatmail_milter.processes.prefork import stop_requested
from chatmail_milter.processes.ratelimit import Limiter, Rate
from chatmail_milter.store.existence import StoreAwayError, existence
from chatmail_milter.systemd import listening_or_exit, log_to_stderr
from mxdeliv_app.postfix import policy_service
from mxdeliv_app.postfix.policy_service import NOTHING_TO_SAY

# Slots of 16 octets for peers. With more peers at once, those with the fewest unknown recipients are evicted.
_PEERS = 1 << 16
# Slots of 8 octets for (peer, recipient) pairs, of all peers together.
_ANSWERS = 1 << 18
_WAYS = 8

log = logging.getLogger(__name__)


class EnumerationLimit:
    """The limit on unknown recipients, for all peers. Not thread-safe."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._limiter = Limiter(rate, _PEERS)
        self._told = RecentSet(_ANSWERS)
        self._clock = clock

    def allows(self, client_address: str, recipient: str) -> bool:
        """Whether to reply to the peer about `recipient` (canonical; a malformed one as it came)."""
        peer = _peer(client_address)
        return f"{peer} {recipient}" in self._told or self._limiter.may(peer, self._clock())

    def told(self, client_address: str, recipient: str, *, known: bool) -> None:
        """Records a reply about a recipient, after `allows` returned True."""
        peer = _peer(client_address)
        if self._told.add(f"{peer} {recipient}") and not known:
            self._limiter.take(peer, self._clock())


class RecentSet:
    """A set of hashes of texts, of fixed size, with LRU eviction.

    Set-associative: a text's hash selects eight of the `slots`.
    """

    def __init__(self, slots: int) -> None:
        self._sets = slots // _WAYS
        self._marks = array("q", bytes(8 * _WAYS * self._sets))

    def __contains__(self, text: str) -> bool:
        mark = hash(text)
        begin = mark % self._sets * _WAYS
        return mark in self._marks[begin : begin + _WAYS]

    def add(self, text: str) -> bool:
        """Adds a text, or marks it as most recently used. Returns whether it is new."""
        mark = hash(text)
        begin = mark % self._sets * _WAYS
        marks = self._marks[begin : begin + _WAYS]
        new = mark not in marks
        marks.pop(_WAYS - 1 if new else marks.index(mark))
        marks.insert(0, mark)
        self._marks[begin : begin + _WAYS] = marks
        return new


def _peer(client_address: str) -> str:
    return network_named(client_address) or ""  # Postfix passes `unknown` without an address.


class UnknownRecipients:
    """Decides for recipients of the canonical `domain`. One object serves all connections.

    `is_account`: whether a canonical address has an account; may raise `StoreAwayError`.
    """

    def __init__(self, domain: str, is_account: Callable[[str], bool], limit: EnumerationLimit) -> None:
        self._domain = domain
        self._is_account = is_account
        self._limit = limit
        self._away = False

    async def action(self, attributes: Mapping[str, str]) -> str:
        """The action for the recipient in a request's attributes."""
        # Postfix also asks at VRFY, where it answers 252 for any address. That must stay so.
        if attributes.get("protocol_state") != "RCPT":
            return NOTHING_TO_SAY
        peer, named = attributes.get("client_address", ""), attributes.get("recipient", "")
        try:
            recipient = address.parse(named)
        except address.MalformedAddressError:
            recipient = named  # Can't be an account, all of which have canonical addresses.
        else:
            # Postfix may have other domains, whose accounts are not in our database.
            if address.domain_of(recipient) != self._domain:
                return NOTHING_TO_SAY
        if not self._limit.allows(peer, recipient):
            return codes.TOO_MANY_UNKNOWN.reply
        try:
            # Blocks the event loop, for less time than handing it to a thread would take.
            known = self._is_account(recipient)
        except StoreAwayError as error:
            self._note(away=True, cause=str(error))
            return NOTHING_TO_SAY
        self._note(away=False)
        self._limit.told(peer, recipient, known=known)
        return NOTHING_TO_SAY if known else codes.USER_UNKNOWN.reply

    def _note(self, *, away: bool, cause: str = "") -> None:
        """Logs when the database becomes unavailable and available, not for each recipient."""
        if away != self._away:
            self._away = away
            log.warning("event=store-%s cause=%s", "away" if away else "back", cause or "-")


async def serve(listening: socket.socket, unknown: UnknownRecipients) -> None:
    """Serves Postfix on a listening socket until SIGTERM or SIGINT."""
    stop = stop_requested()
    await asyncio.start_unix_server(partial(policy_service.serve, unknown.action), sock=listening)
    log.info("event=ready")
    await stop.wait()


@click.command()
@click.option(
    "--listen",
    metavar="unix:PATH",
    multiple=True,
    help="Listen there, if systemd passes no socket.",
)
def main(listen: tuple[str, ...]) -> None:
    """Refuse recipients without an account at RCPT, for Postfix.

    A policy service (check_policy_service unix:chatmail/recipients.sock), only for addresses of mail.domain.
    """
    config = load_or_exit()
    log_to_stderr()
    (found,) = listening_or_exit("chatmail-recipients", listen, {"recipients"}).values()
    limit = EnumerationLimit(Rate(config.inbound.unknown_per_minute, config.inbound.unknown_burst))
    is_account = existence(config.store.url, config.store.file)
    unknown = UnknownRecipients(config.mail.domain, is_account, limit)
    asyncio.run(serve(found, unknown))
    logging.shutdown()
    # Without waiting for Postfix's open connections: it repeats its request on a new one.
    os._exit(0)
