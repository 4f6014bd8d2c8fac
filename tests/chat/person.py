"""Someone with Delta Chat: an account made by its first login, contacts, messages sent and received.

Times are seconds since the epoch: `Sent.at` is the moment before the core was told to send, `Received.at`
the moment the core said that the message was there, fetched and decrypted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from tests.chat import pgp
from tests.chat.core import Core
from tests.chat.events import Event, EventLog

# Message states of the core (DC_STATE_*).
OUT_FAILED = 24
OUT_DELIVERED = 26
OUT_READ = 28

_SELF = 1  # the contact that everybody is to oneself

_FIRST_ORDINARY_ID = 10  # smaller message ids are the core's own


def fresh_address(domain: str, begin: str = "") -> str:
    """An address nobody has: twelve characters before the @ (chatmail wants 8 to 20)."""
    return f"{begin}{secrets.token_hex(6)}"[:12] + f"@{domain}"


def fresh_password() -> str:
    """A password that a chatmail relay takes (9 characters or more)."""
    return secrets.token_urlsafe(15)


def words() -> str:
    """A text that nobody has sent before."""
    return f"hello {secrets.token_hex(4)}"


@dataclass(frozen=True)
class SentMessage:
    """A message on its way."""

    id: int
    message_id: str
    at: float
    mark: int


@dataclass(frozen=True)
class ReceivedMessage:
    """A message that arrived, as the core shows it."""

    at: float
    message: dict[str, Any]


class Person:
    """One account in the core."""

    def __init__(self, core: Core, address: str, password: str) -> None:
        self.core = core
        self.address = address
        self.password = password
        self.account: int = core.rpc.add_account()
        self.events: EventLog = core.log(self.account)

    def log_in(self) -> None:
        """Configure the core with address, password and server alone; a first login makes the account."""
        self._use(self.address, self.password)
        self.core.rpc.start_io(self.account)
        self.core.rpc.wait_for_all_work_done(self.account)

    def log_in_by(self, link: str) -> None:
        """Configure the core by a `dclogin:` link of this account's relay."""
        self.core.rpc.add_transport_from_qr(self.account, link)
        self.core.rpc.start_io(self.account)
        self.core.rpc.wait_for_all_work_done(self.account)

    def join_relay(self, domain: str, **more: str) -> str:
        """Use a further relay too, by a first login there; the address. `more`: of the core's parameters.

        Whoever has the profile's key from then on writes to all of its addresses.
        """
        address = fresh_address(domain)
        self._use(address, fresh_password(), **more)
        return address

    def onboard(self, other: Person) -> None:
        """As the app of someone new who was invited: the core joins the relay that answers first."""
        self.core.rpc.init_transports(self.account, other.invite())
        # It may join others later, by itself.
        login = self.core.rpc.list_transports(self.account)[0]
        self.address, self.password = login["addr"], login["password"]
        self.go_online()

    def _use(self, address: str, password: str, **more: str) -> None:
        host = address.partition("@")[2]
        server = {"imapServer": host, "imapPort": 993, "imapSecurity": "ssl"}
        server |= {"smtpServer": host, "smtpPort": 465, "smtpSecurity": "ssl"}
        self.core.rpc.add_or_update_transport(
            self.account, {"addr": address, "password": password, **server, **more}
        )

    def another_device(self) -> Person:
        """A second device with the same account, set up from this one as users do it: by transfer."""
        device = Person(self.core, self.address, self.password)
        handed_over = self.core.rpc.provide_backup.future(self.account)
        self.core.rpc.get_backup(device.account, self.core.rpc.get_backup_qr(self.account))
        handed_over()
        device.go_online()
        return device

    def go_offline(self) -> None:
        """Cut the connections: nothing comes and nothing is sent until `go_online`."""
        self.core.rpc.stop_io(self.account)

    def go_online(self) -> None:
        """Connect, and fetch what came meanwhile."""
        self.core.rpc.start_io(self.account)

    def accept_cleartext(self) -> None:
        """Set the profile as those are that were made before the core ignored all unencrypted mail.

        Since core 2.5x new profiles drop what is not encrypted before they look at it, bounces too.
        """
        self.core.rpc.set_config(self.account, "force_encryption", "0")

    def chat_in_clear(self, address: str) -> int:
        """An unencrypted chat with an address."""
        contact = self.core.rpc.create_contact(self.account, address, None)
        return int(self.core.rpc.create_chat_by_contact_id(self.account, contact))

    def invite(self) -> str:
        """The QR code that another person scans to get in contact (SecureJoin)."""
        return str(self.core.rpc.get_chat_securejoin_qr_code(self.account, None))

    def join(self, other: Person, seconds: float) -> int:
        """Scan the other's QR code and wait until both ends have verified each other. The chat."""
        mark, other_mark = self.events.mark(), other.events.mark()
        chat = int(self.core.rpc.secure_join(self.account, other.invite()))
        self.events.wait("SecureJoin, joiner", _done("SecurejoinJoinerProgress"), seconds, mark)
        other.events.wait("SecureJoin, inviter", _done("SecurejoinInviterProgress"), seconds, other_mark)
        return chat

    def chat_with_stranger(self, address: str) -> int:
        """An encrypted chat with an address whose key came by vCard, whether or not anyone is there."""
        card = pgp.vcard(address, pgp.make_key(address))
        (contact,) = self.core.rpc.import_vcard_contents(self.account, card)
        return int(self.core.rpc.create_chat_by_contact_id(self.account, contact))

    def meet(self, other: Person) -> int:
        """Get to know someone by their vCard, as one that a friend passed on; the contact."""
        card = self.core.rpc.make_vcard(other.account, [_SELF])
        (contact,) = self.core.rpc.import_vcard_contents(self.account, card)
        return int(contact)

    def found_group(self, name: str, others: Iterable[Person]) -> int:
        """A group with all of them in it; they learn of it with the first message. The chat."""
        chat = int(self.core.rpc.create_group_chat(self.account, name, False))
        for other in others:
            self.core.rpc.add_contact_to_chat(self.account, chat, self.meet(other))
        return chat

    def accept(self, chat: int) -> None:
        """Say yes to a chat that someone else began."""
        self.core.rpc.accept_chat(self.account, chat)

    def chat_with(self, other: Person) -> int:
        """The chat with someone that this person is in contact with."""
        contact = self.core.rpc.lookup_contact_id_by_addr(self.account, other.address)
        return int(self.core.rpc.create_chat_by_contact_id(self.account, contact))

    def send(self, chat: int, text: str, file: Path | None = None) -> SentMessage:
        """Hand a message to the core."""
        mark, at = self.events.mark(), time()
        data = {"text": text, "file": str(file) if file else None, "viewtype": "File" if file else "Text"}
        message = int(self.core.rpc.send_msg(self.account, chat, data))
        info = self.core.rpc.get_message_info_object(self.account, message)
        return SentMessage(message, str(info["rfc724Mid"]), at, mark)

    def sent(self, sent: SentMessage, seconds: float) -> Event:
        """Wait until the relay has taken the message."""
        return self._outcome("MsgDelivered", sent, seconds)

    def failed(self, sent: SentMessage, seconds: float) -> tuple[Event, str]:
        """Wait until the core shows the message as failed; the error text that the user sees."""
        event = self._outcome("MsgFailed", sent, seconds)
        message = self.message(sent.id)
        return event, f"{message['error']}" if message["state"] == OUT_FAILED else ""

    def received(
        self, what: str, matches: Callable[[dict[str, Any]], bool], since: int, seconds: float
    ) -> ReceivedMessage:
        """Wait for an incoming message, complete with its file, that matches."""
        seen: dict[str, Any] = {}

        def complete(event: Event) -> bool:
            number = int(event.fields.get("msgId") or 0)
            if event.kind not in ("IncomingMsg", "MsgsChanged") or number < _FIRST_ORDINARY_ID:
                return False
            seen.clear()
            seen.update(self.message(number))
            return bool(seen["downloadState"] == "Done" and matches(seen))

        event = self.events.wait(what, complete, seconds, since)
        return ReceivedMessage(event.at, dict(seen))

    def received_text(self, text: str, since: int, seconds: float) -> ReceivedMessage:
        """Wait for an incoming message with this text."""
        return self.received(
            f"{text!r} at {self.address}", lambda shown: bool(shown["text"] == text), since, seconds
        )

    def texts(self, chat: int) -> list[str]:
        """The texts of a chat from top to bottom, as the user sees them, without the core's own remarks."""
        numbers = self.core.rpc.get_message_ids(self.account, chat, False, False)
        messages = self.core.rpc.get_messages(self.account, numbers)
        shown = [messages[str(number)] for number in numbers]
        return [one["text"] for one in shown if not one["isInfo"]]

    def read(self, message: int) -> None:
        """Look at a message, of which its sender is told."""
        self.core.rpc.markseen_msgs(self.account, [message])

    def readers(self, message: int) -> int:
        """How many have read a message of this person's."""
        return int(self.core.rpc.get_message_read_receipt_count(self.account, message))

    def react(self, message: int, emoji: str) -> None:
        """Put a reaction on a message."""
        self.core.rpc.send_reaction(self.account, message, [emoji])

    def reactions(self, message: int) -> dict[str, int]:
        """The reactions on a message: how many of each."""
        shown = self.core.rpc.get_message_reactions(self.account, message) or {"reactions": []}
        return {one["emoji"]: one["count"] for one in shown["reactions"]}

    def message(self, number: int) -> dict[str, Any]:
        """A message as the core shows it."""
        return dict(self.core.rpc.get_message(self.account, number))

    def _outcome(self, kind: str, sent: SentMessage, seconds: float) -> Event:
        def ours(event: Event) -> bool:
            return event.kind == kind and event.fields.get("msgId") == sent.id

        return self.events.wait(f"{kind} at {self.address}", ours, seconds, sent.mark)


def _done(kind: str) -> Callable[[Event], bool]:
    return lambda event: event.kind == kind and event.fields["progress"] == 1000
