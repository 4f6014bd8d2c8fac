"""An independent SMTP server (aiosmtpd) in place of Postfix's reinject port; it keeps what it gets."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class ReinjectSink:
    """What was handed back, and the replies to recipients that are not taken."""

    refuse: dict[str, str] = field(default_factory=dict)
    taken: list[tuple[str, list[str], bytes]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        sender = "" if envelope.mail_from == "<>" else envelope.mail_from
        self.taken.append((sender, list(envelope.rcpt_tos), envelope.original_content))
        return "250 2.0.0 Ok: queued as SINK"


class Reinject(Controller):
    """On a port that is bound from the first: one that was only found free may be taken by then."""

    def __init__(self, sink: ReinjectSink) -> None:
        self._bound = socket.create_server(("127.0.0.1", 0))
        host, port = self._bound.getsockname()
        super().__init__(sink, hostname=host, port=port, enable_SMTPUTF8=True, ready_timeout=30)

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._bound)
