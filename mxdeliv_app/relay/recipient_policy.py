"""Policy service: refuses at DATA a message to one recipient that can never be delivered.

Postfix's policy delegation protocol (SMTPD_POLICY_README). A refusal is better than a bounce, because apps
that accept only encrypted mail show no bounces. Refuses only for permanent reasons that are known without
asking the peer: Dovecot's answer for a mailbox here, the operator's policy, a domain that does not exist, a
null MX, the peer's refusal of this recipient within the last day. Postfix names the recipient only if it is
the only one; a 5xx for one of several would fail the message for all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.store.accounts import Account
from chatmail_milter.store.policies import Policies
from chatmail_milter.verdict import Action, Verdict
from mxdeliv_app.postfix import policy_service
from mxdeliv_app.postfix.policy_service import END, NOTHING_TO_SAY
from mxdeliv_app.relay.queued_message import NO_QUEUE_ID, Recipient, recipient
from mxdeliv_app.relay.recipient_refusals import RecipientRefusals
from mxdeliv_app.relay.routing import Router

# Seconds for one question or two. Postfix waits ten for an answer.
MAILBOX_TIMEOUT = 5.0
REMEMBERED = 60.0
# Octets of a message whose client doesn't tell them (RFC 1870, SIZE): more than most messages have.
UNTOLD_SIZE = 1 << 20
_MAILBOXES = 5000

# Seconds, longer than `resolver.LIFETIME` unless there are too many. Postfix waits ten for an answer.
LOOKUP_TIMEOUT = 6.0
# At once; in threads of their own, as the loop's few are needed for what must not wait for a silent DNS.
_LOOKUPS = 32

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Room:
    """The room left at least. Valid as long as the account has this quota."""

    quota: int | None
    octets: int
    until: float


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """Asks Dovecot's quota-status whether a mailbox has room for a message, and caches the answer.

    quota-status opens the mailbox, which is expensive. So the first question is about a message of the
    largest size. If there is room, the answer holds for a minute, or until the messages in question would use
    up that room. Mail that arrives in other ways meanwhile (from peers, to several recipients, stored by
    IMAP) is not counted: if the mailbox becomes full, Dovecot refuses at the delivery, and the sender gets a
    bounce. Existence and quota of the account are read each time.

    `path`: quota-status's socket. `largest`: octets of the largest message.
    `account`: looks up a canonical address; may block, and raise `SQLAlchemyError`.
    """

    path: str
    account: Callable[[str], Account | None]
    largest: int
    clock: Callable[[], float] = time.monotonic
    _rooms: dict[str, _Room] = field(default_factory=dict)

    async def action(self, recipient: Recipient, size: int, queue_id: str) -> str:
        """Dovecot's permanent refusal of a message of `size` octets (0: unknown), or DUNNO.

        `queue_id` is for the log.
        """
        try:
            async with asyncio.timeout(MAILBOX_TIMEOUT):
                answer = await self._answer(recipient, size, queue_id)
        except (asyncio.IncompleteReadError, TimeoutError, OSError) as error:
            # It is asked again at the delivery, which can wait.
            log.error("event=mailbox-unknown error=%s queue=%s", type(error).__name__, queue_id)
            return NOTHING_TO_SAY
        return answer if answer.startswith("5") else NOTHING_TO_SAY

    async def _answer(self, recipient: Recipient, size: int, queue_id: str) -> str:
        account = await asyncio.to_thread(self._account, recipient.canonical, queue_id)
        if account is None or size > self.largest:
            return await self._ask(recipient.raw, size)
        if self._has_room(account, size):
            return NOTHING_TO_SAY
        if await self._ask(recipient.raw, self.largest) != NOTHING_TO_SAY:
            return await self._ask(recipient.raw, size)
        self._remember(account, size)
        return NOTHING_TO_SAY

    def _account(self, address: str | None, queue_id: str) -> Account | None:
        try:
            return None if address is None else self.account(address)
        except SQLAlchemyError as error:
            log.error("event=account-unknown error=%s queue=%s", type(error).__name__, queue_id)
            return None

    def _has_room(self, account: Account, size: int) -> bool:
        room, needed = self._rooms.get(account.address), size or UNTOLD_SIZE
        if room is None or room.quota != account.quota or self.clock() >= room.until or room.octets < needed:
            return False
        room.octets -= needed
        return True

    def _remember(self, account: Account, size: int) -> None:
        if len(self._rooms) >= _MAILBOXES:
            self._rooms.clear()
        left = self.largest - (size or UNTOLD_SIZE)
        self._rooms[account.address] = _Room(account.quota, left, self.clock() + REMEMBERED)

    async def _ask(self, address: str, size: int) -> str:
        """Dovecot's action. The query names the state RCPT, because Dovecot answers DUNNO at any other."""
        question = f"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient={address}\nsize={size}\n\n"
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(question.encode())
            answer = await reader.readuntil(END)
        finally:
            writer.close()
        return answer.decode(errors="replace").strip().removeprefix("action=")


@dataclass(frozen=True, slots=True)
class RecipientPolicy:
    """The collaborators. One object serves all connections.

    `domain`: this relay's domain, whose mailboxes `mailboxes` knows.
    """

    domain: str
    where: Router
    policies: Policies
    mailboxes: QuotaStatus
    refusals: RecipientRefusals | None = None
    _pool: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, _LOOKUPS, "domain-lookup"))
    _asked: dict[str, asyncio.Future[Verdict | None]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of Postfix until it ends."""
        await policy_service.serve(self._action, reader, writer)

    async def _action(self, attributes: Mapping[str, str]) -> str:
        named = attributes.get("recipient", "")
        if not named:  # one of several
            return NOTHING_TO_SAY
        try:
            address = recipient(named)
        except MalformedAddressError:
            return codes.BAD_ADDRESS.reply  # as the relay would say of it
        queue_id = attributes.get("queue_id") or NO_QUEUE_ID
        if address.domain == self.domain:
            size = attributes.get("size", "")
            return await self.mailboxes.action(address, int(size) if size.isdecimal() else 0, queue_id)
        verdict = await self._verdict(address.domain, queue_id)
        if verdict is None and self.refusals is not None and address.canonical is not None:
            verdict = await asyncio.to_thread(self.refusals.verdict, address.canonical)
        return NOTHING_TO_SAY if verdict is None else verdict.reply

    async def _verdict(self, domain: str, queue_id: str) -> Verdict | None:
        """Like `_elsewhere`, but once for all concurrent questions about a domain: its DNS may hang."""
        asked = self._asked.get(domain)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._pool, self._elsewhere, domain, queue_id)
            self._asked[domain] = asked
            asked.add_done_callback(lambda _: self._asked.pop(domain))
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                return await asyncio.shield(asked)
        except TimeoutError:
            log.warning(
                "event=recipient-policy-unknown domain=%s error=TimeoutError queue=%s", domain, queue_id
            )
            return None

    def _elsewhere(self, domain: str, queue_id: str) -> Verdict | None:
        """The permanent refusal of mail for `domain`; None if it can be tried. `queue_id` is for the log."""
        try:
            verdict = self.policies.current().outgoing(domain)
            plan = self.where.plan(domain, None) if verdict.action is Action.PASS else verdict
        except SQLAlchemyError as error:
            log.error("event=recipient-policy-unknown error=%s queue=%s", type(error).__name__, queue_id)
            return None
        return plan if isinstance(plan, Verdict) and plan.action is Action.REJECT else None
