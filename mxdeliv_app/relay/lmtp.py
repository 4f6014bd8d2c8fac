"""The server for Postfix: LMTP (RFC 2033), and SMTP on the HTTPS-only port.

After the message, LMTP has a reply for each recipient, SMTP one for all. aiosmtpd is not used: it reads a
message line by line in Python (1.8 s for 30 MB), and has one reply for errors after DATA. No AUTH, TLS or
BDAT, because the only client is this host's Postfix.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.rules.policy import Policy
from chatmail_milter.verdict import Action, Reply, Verdict
from mxdeliv_app.relay.concurrency import PolicyInForce, Turn
from mxdeliv_app.relay.queued_message import NO_QUEUE_ID, Mode, QueuedMessage, Recipient, recipient
from mxdeliv_app.relay.stream import SmtpStream

# smtp(8) takes a server that greets with the client's own name for a mail loop.
GREETING_NAME = "localhost"
# Each is a worker while the message is delivered. A group on more relays than that goes in two.
MAX_DOMAINS = 32

# RFC 5321, 4.1.2: a quoted local part may hold a >.
_PATH = r': ?<((?:"(?:[^"\\]|\\.)*"|[^">])*)>((?: +\S+)*) *'
_FROM = re.compile("FROM" + _PATH, re.IGNORECASE)
_TO = re.compile("TO" + _PATH, re.IGNORECASE)
# Postfix's queue ID in XFORWARD (https://www.postfix.org/XFORWARD_README.html): short or long (postconf(5),
# enable_long_queue_ids), of characters that need no quoting there.
_IDENT = re.compile(r"IDENT=([0-9A-Za-z]{5,30})", re.IGNORECASE)

log = logging.getLogger(__name__)


class DeliveryService(Protocol):
    """Delivers messages; `dispatch.Dispatch` in the daemon."""

    def refusal(self) -> Verdict | None: ...

    async def admit(self, sender: str, domain: str) -> Turn | Verdict: ...

    def leave(self, turns: Iterable[Turn]) -> None: ...

    async def deliver(self, message: QueuedMessage, turns: Mapping[str, Turn], mode: Mode) -> list[Reply]: ...


@dataclass(frozen=True, slots=True)
class LmtpLimits:
    """Announced limits: octets of a message, recipients of a transaction."""

    size: int
    recipients: int


class LmtpSession:
    """One connection. `run` returns when it ends."""

    def __init__(
        self,
        stream: SmtpStream,
        service: DeliveryService,
        policy: PolicyInForce,
        limits: LmtpLimits,
        mode: Mode,
    ) -> None:
        self._stream = stream
        self._service = service
        self._in_force = policy
        self._limits = limits
        self._mode = mode
        self._lmtp = mode is Mode.HTTPS_FIRST
        self._greeted = False
        self._open = True
        self._last = False
        self._turns: dict[str, Turn] = {}
        self._reset()
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }
        greetings = ("LHLO",) if self._lmtp else ("EHLO", "HELO")
        self._commands.update(dict.fromkeys(greetings, self._hello))
        if self._lmtp:
            self._commands["XFORWARD"] = self._xforward

    async def run(self) -> None:
        """Serves the connection until either side closes it."""
        self._stream.say(f"220 {GREETING_NAME} {'LMTP' if self._lmtp else 'ESMTP'} mxdeliv-relay")
        try:
            while self._open:
                await self._command(await self._stream.line())
            await self._stream.flush()
        except (asyncio.IncompleteReadError, ConnectionError):
            log.debug("event=client-left")
        except TimeoutError:
            self._say(codes.IDLE)
            await self._stream.flush()
        finally:
            self._reset()

    @property
    def waiting(self) -> bool:
        """Whether no transaction is in progress, so that closing loses nothing."""
        return self._sender is None

    async def _command(self, line: bytes | None) -> None:
        try:
            verb, _, argument = (line or b"").decode("utf-8").partition(" ")
        except UnicodeDecodeError:
            verb, argument = "", ""
        command = self._commands.get(verb.upper())
        if command is None or not argument.isprintable():
            self._say(codes.UNKNOWN_COMMAND if command is None else codes.BAD_SYNTAX)
        else:
            await command(argument)

    def _say(self, verdict: Verdict) -> None:
        self._stream.say(verdict.reply)
        if verdict.code == 421:
            self._open = False

    def _ok(self, text: str = "OK", status: str = "2.0.0") -> None:
        self._stream.say(f"250 {status} {text}")

    def _reset(self) -> None:
        turns, self._turns = self._turns, {}
        self._service.leave(turns.values())
        self._sender: str | None = None
        self._smtputf8 = False
        self._queue_id = NO_QUEUE_ID
        self._recipients: list[Recipient] = []
        self._policy: Policy | None = None

    async def _hello(self, argument: str) -> None:
        self._reset()
        self._greeted = True
        lines = [
            GREETING_NAME,
            "PIPELINING",
            f"SIZE {self._limits.size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        if self._lmtp:
            # Of all that XFORWARD can tell, the queue ID alone: whose client sent it is none of our business.
            lines.append("XFORWARD IDENT")
        self._stream.say(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")

    async def _xforward(self, argument: str) -> None:
        """Takes Postfix's queue ID of the next message, for our log lines."""
        ident = _IDENT.fullmatch(argument)
        if self._sender is not None:
            return self._say(codes.BAD_SEQUENCE)
        if ident is None:
            return self._say(codes.BAD_PARAMETER)
        self._queue_id = ident[1]
        return self._ok()

    async def _mail(self, argument: str) -> None:
        path = _FROM.fullmatch(argument)
        if not self._greeted or self._sender is not None:
            return self._say(codes.BAD_SEQUENCE)
        if path is None:
            return self._say(codes.BAD_SYNTAX)
        for parameter in path[2].upper().split():
            name, _, value = parameter.partition("=")
            if name == "SIZE" and value.isdecimal():
                if int(value) > self._limits.size:
                    return self._say(codes.TOO_LARGE)
            elif parameter == "SMTPUTF8":
                self._smtputf8 = True
            elif parameter not in ("BODY=8BITMIME", "BODY=7BIT"):
                return self._say(codes.BAD_PARAMETER)
        refusal = self._service.refusal()
        if refusal is not None:
            return self._say(refusal)
        self._sender = path[1]
        return self._ok(status="2.1.0")

    async def _rcpt(self, argument: str) -> None:
        path = _TO.fullmatch(argument)
        if self._sender is None:
            return self._say(codes.BAD_SEQUENCE)
        if path is None:
            return self._say(codes.BAD_SYNTAX)
        if path[2]:
            return self._say(codes.BAD_PARAMETER)
        if len(self._recipients) >= self._limits.recipients:
            return self._say(codes.TOO_MANY_RECIPIENTS)
        try:
            found = recipient(path[1])
        except MalformedAddressError:
            return self._say(codes.BAD_ADDRESS)
        if not self._lmtp and self._recipients and found.domain != self._recipients[0].domain:
            return self._say(codes.ONE_DOMAIN)
        verdict = await self._allowed(found.domain)
        if verdict.action is not Action.PASS:
            return self._say(verdict)
        refusal = await self._place(self._sender, found.domain)
        if refusal is not None:
            # Recipients elsewhere are not to suffer: a 421 ends the connection, but after this transaction.
            self._last |= refusal.code == 421
            return self._stream.say(refusal.reply)
        self._recipients.append(found)
        return self._ok(status="2.1.5")

    async def _place(self, sender: str, domain: str) -> Verdict | None:
        """Admits `domain`, or returns the refusal."""
        if domain in self._turns:
            return None
        if len(self._turns) >= MAX_DOMAINS:
            return codes.TOO_MANY_RECIPIENTS
        admitted = await self._service.admit(sender, domain)
        if isinstance(admitted, Verdict):
            self._refused(domain, admitted)
            return admitted
        self._turns[domain] = admitted
        return None

    async def _allowed(self, domain: str) -> Verdict:
        """Whether the policy allows mail to `domain`. A transaction uses one version of the policy."""
        try:
            self._policy = self._policy or await self._in_force.ask()
        except SQLAlchemyError as error:
            log.error("event=policy-not-read error=%s queue=%s", type(error).__name__, self._queue_id)
            return codes.STORE_AWAY
        verdict = self._policy.outgoing(domain)
        if verdict.action is not Action.PASS:
            self._refused(domain, verdict)
        return verdict

    def _refused(self, domain: str, verdict: Verdict) -> None:
        log.info("event=refused domain=%s reason=%s queue=%s", domain, verdict.reason, self._queue_id)

    async def _data(self, argument: str) -> None:
        if not self._recipients or self._sender is None:
            return self._say(codes.BAD_SEQUENCE)
        self._stream.say("354 End data with <CR><LF>.<CR><LF>")
        content = await self._stream.message(self._limits.size)
        if content is None:
            replies = [codes.TOO_LARGE.said] * len(self._recipients)
        else:
            message = QueuedMessage(
                self._sender, tuple(self._recipients), content, self._smtputf8, self._queue_id
            )
            turns, self._turns = self._turns, {}  # they are the service's now
            replies = await self._service.deliver(message, turns, self._mode)
        self._stream.say(*(one.line for one in (replies if self._lmtp else [_for_all(replies)])))
        self._reset()
        if self._last or self._service.refusal() is codes.STOPPING:
            self._open = False
        await self._stream.flush()
        return None

    async def _rset(self, argument: str) -> None:
        self._reset()
        self._ok()

    async def _noop(self, argument: str) -> None:
        self._ok()

    async def _quit(self, argument: str) -> None:
        self._stream.say("221 2.0.0 Bye")
        self._open = False


def _for_all(replies: list[Reply]) -> Reply:
    """The one reply of SMTP, which `fallback.one_for_all` has seen to be that of all."""
    return replies[0] if len({reply.code // 100 for reply in replies}) == 1 else codes.OUR_FAULT.said
