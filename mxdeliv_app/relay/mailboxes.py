"""Asks Dovecot's quota-status whether a mailbox has room for a message, and caches the answer.

quota-status opens the mailbox, which is expensive. So the first question is about a message of the largest
size. If there is room, the answer holds for a minute, or until the messages in question would use up that
room. Mail that arrives in other ways meanwhile (from peers, to several recipients, stored by IMAP) is not
counted: if the mailbox becomes full, Dovecot refuses at the delivery, and the sender gets a bounce. Existence
and quota of the account are read each time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store.accounts import Account
from mxdeliv_app.postfix.policy_service import END, NOTHING_TO_SAY
from mxdeliv_app.relay.queued_message import Recipient

# Seconds for one question or two. Postfix waits ten for an answer.
MAILBOX_TIMEOUT = 5.0
REMEMBERED = 60.0
# Octets of a message whose client doesn't tell them (RFC 1870, SIZE): more than most messages have.
UNTOLD_SIZE = 1 << 20
_MAILBOXES = 5000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Room:
    """The room left at least. Valid as long as the account has this quota."""

    quota: int | None
    octets: int
    until: float


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """Asks quota-status at the socket `path`. `largest`: octets of the largest message.

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
