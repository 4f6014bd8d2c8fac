"""One person's Delta Chat in a core that talks to a `MailHost`."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any

from tests.corpus.mailhost import MailHost

# How long a message may take from one app to another.
_PATIENCE_SECONDS = 30.0
# What apps write when it doesn't matter what.
TEXT = "What only the recipient may read."


class App:
    """One person's app."""

    def __init__(self, rpc: Any, host: MailHost, address: str, **settings: str) -> None:
        self.rpc = rpc
        self.address = address
        self.account: int = rpc.add_account()
        rpc.batch_set_config(self.account, settings)
        login: dict[str, str | int] = {"addr": address, "password": "a-password-of-no-use"}
        login |= {"imapServer": "127.0.0.1", "imapPort": host.imap_port, "imapSecurity": "plain"}
        login |= {"smtpServer": "127.0.0.1", "smtpPort": host.smtp_port, "smtpSecurity": "plain"}
        rpc.add_or_update_transport(self.account, login)
        rpc.start_io(self.account)

    def do(self, name: str, *arguments: Any) -> Any:
        """A call of the core about this account."""
        return getattr(self.rpc, name)(self.account, *arguments)

    def chat_with(self, other: App) -> int:
        contact = self.do("lookup_contact_id_by_addr", other.address)
        return int(self.do("create_chat_by_contact_id", contact))

    def contact(self, other: App) -> int:
        return int(self.do("lookup_contact_id_by_addr", other.address))

    def send(self, chat: int, text: str = TEXT, **more: Any) -> int:
        return int(self.do("send_msg", chat, {"text": text, **more}))

    def last(self, text: str) -> int:
        """The newest message with this text, as soon as it is there."""
        deadline = monotonic() + _PATIENCE_SECONDS
        while not (found := self.do("search_messages", text, None)):
            if monotonic() > deadline:
                raise TimeoutError(f"{self.address} never got {text!r}")
            sleep(0.1)
        return int(found[0])
