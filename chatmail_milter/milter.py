"""The milter: Postfix asks it about every message (the only file that knows pymilter).

libmilter runs the connections on its threads. Nothing is asked for that no rule needs, and only two stages
are waited for: the connection, which decides whether mail of this road is judged at all, and the end of the
message, which gets the verdict. Whatever goes wrong in between is our fault and makes that verdict a 451.

libmilter protocol: https://www.milter.org/developers/api/ ; Postfix: MILTER_README.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from os import EX_OSERR, EX_SOFTWARE, _exit
from types import TracebackType
from typing import Any

import click
import milter

from chatmail_milter import codes, listen
from chatmail_milter.config import load_or_exit
from chatmail_milter.transaction import (
    LET_BY,
    ROADS,
    Decision,
    Settings,
    Transaction,
    peer_address,
)
from chatmail_milter.verdict import Action, Verdict

log = logging.getLogger("chatmail-milter")

_ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.CHGFROM | milter.SETSYMLIST
_NOT_ASKED = milter.P_NOHELO | milter.P_NODATA | milter.P_NOUNKNOWN
_NOT_ANSWERED = milter.P_NR_MAIL | milter.P_NR_RCPT | milter.P_NR_HDR | milter.P_NR_EOH | milter.P_NR_BODY
_MACROS = {milter.M_CONNECT: "{daemon_name}", milter.M_EOM: "i"}

# libmilter refuses more than 980 octets of reply text; clients see no use in more than this.
_REPLY_MOST = 600

_ANSWERS = {Action.PASS: milter.CONTINUE, Action.REJECT: milter.REJECT, Action.TEMPFAIL: milter.TEMPFAIL}


class Session:
    """One connection of Postfix's to us, and the message that is under way on it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._road = ""
        self._peer = peer_address(None)
        self._unanswered = 0
        self._transaction: Transaction | None = None
        self._spoiled = False

    def negotiate(self, ctx: Any, offer: list[int]) -> int:
        offer[0] &= _ACTIONS
        self._unanswered = offer[1] & _NOT_ANSWERED
        offer[1] = offer[1] & (_NOT_ASKED | _NOT_ANSWERED)
        offer[2] = offer[3] = 0
        if offer[0] & milter.SETSYMLIST:
            for stage, names in _MACROS.items():
                ctx.setsymlist(stage, names)
        return int(milter.CONTINUE)

    def connect(self, ctx: Any, _name: str, _family: int, peer: object) -> int:
        self._road = ctx.getsymval("{daemon_name}") or ""
        self._peer = peer_address(peer[0]) if isinstance(peer, tuple) else None
        if self._road in LET_BY:
            return int(milter.ACCEPT)
        if self._road not in ROADS:
            log.error("road=unknown verdict=tempfail reason=daemon-name")
            return _answer(ctx, codes.OUR_FAULT.because("daemon-name"))
        return int(milter.CONTINUE)

    def envfrom(self, _ctx: Any, mail_from: bytes, *_parameters: bytes) -> int:
        self._transaction = Transaction(
            self._settings, ROADS[self._road], self._peer, mail_from.decode(errors="replace")
        )
        self._spoiled = False
        return self._go_on(milter.P_NR_MAIL)

    def envrcpt(self, _ctx: Any, recipient: bytes, *_parameters: bytes) -> int:
        self._the_transaction().recipient(recipient.decode(errors="replace"))
        return self._go_on(milter.P_NR_RCPT)

    def header(self, _ctx: Any, name: str, value: bytes) -> int:
        self._the_transaction().field(name.encode(), value)
        return self._go_on(milter.P_NR_HDR)

    def eoh(self, _ctx: Any) -> int:
        self._the_transaction().end_of_header()
        return self._go_on(milter.P_NR_EOH)

    def body(self, _ctx: Any, chunk: bytes) -> int:
        self._the_transaction().body(chunk)
        return self._go_on(milter.P_NR_BODY)

    def eom(self, ctx: Any) -> int:
        transaction = self._the_transaction()
        decision = Decision(codes.OUR_FAULT) if self._spoiled else transaction.decide()
        if decision.verdict.action is Action.PASS:
            for number in decision.forged:
                ctx.chgheader("Authentication-Results", number, None)
            if decision.null_sender:
                ctx.chgfrom("<>")
            if decision.bare:
                ctx.addheader("Subject", "[...]")
        verdict = decision.verdict
        log.info(
            "road=%s verdict=%s reason=%s queue=%s size=%d",
            self._road,
            verdict.action.value,
            verdict.reason,
            ctx.getsymval("i") or "-",
            transaction.size,
        )
        self._transaction = None
        return _answer(ctx, verdict)

    def abort(self, _ctx: Any) -> int:
        self._transaction = None
        return int(milter.CONTINUE)

    def spoil(self, stage: str) -> int:
        """Something of ours failed at `stage`: this message can't be answered as if all of it were known."""
        self._spoiled = True
        return self._go_on(_UNANSWERED_AT.get(stage, 0))

    def _go_on(self, unanswered: int) -> int:
        return int(milter.NOREPLY if self._unanswered & unanswered else milter.CONTINUE)

    def _the_transaction(self) -> Transaction:
        if self._transaction is None:
            raise RuntimeError("no transaction is under way")
        return self._transaction


_UNANSWERED_AT = {
    "envfrom": milter.P_NR_MAIL,
    "envrcpt": milter.P_NR_RCPT,
    "header": milter.P_NR_HDR,
    "eoh": milter.P_NR_EOH,
    "body": milter.P_NR_BODY,
}


def _answer(ctx: Any, verdict: Verdict) -> int:
    if verdict.action is not Action.PASS:
        # libmilter takes the text for a printf format, and Postfix turns %% back into %.
        text = "".join(c if c.isprintable() else " " for c in verdict.text)[:_REPLY_MOST]
        ctx.setreply(str(verdict.code), verdict.enhanced, text.replace("%", "%%"))
    return int(_ANSWERS[verdict.action])


# The session whose callback runs in this thread. libmilter moves sessions between threads, but pymilter gives
# each a thread state of its own, and that is what thread-local data hangs on.
_here = threading.local()


def _callback(stage: str, settings: Settings) -> Callable[..., int]:
    """The session's method for `stage` as libmilter calls it. Nothing that it raises gets out."""

    def call(ctx: Any, *args: Any) -> int:
        session = ctx.getpriv()
        if session is None:
            session = _here.session = Session(settings)
            ctx.setpriv(session)
        try:
            return int(getattr(session, stage)(ctx, *args))
        except Exception as fault:
            _log_fault(stage, type(fault), fault.__traceback__)
        if stage in _UNANSWERED_AT:
            return int(session.spoil(stage))
        return _answer(ctx, codes.OUR_FAULT)

    return call


def _close(ctx: Any) -> int:
    ctx.setpriv(None)
    return int(milter.CONTINUE)


def _log_fault(stage: str, kind: type[BaseException], trace: TracebackType | None) -> None:
    # Where, but not str(fault): that may hold what the message said.
    frames = "".join(traceback.format_tb(trace))
    log.error("stage=%s fault=%s\n%s", stage, kind.__name__, frames.rstrip())


def _uncallable(kind: type[BaseException], _fault: BaseException, trace: TracebackType | None) -> None:
    """pymilter could not even call us, and goes on as if we had said CONTINUE.

    What a stranger can bring about is a header name that isn't UTF-8 (never by way of Postfix, for whom such
    a line is no header). After anything else we know too little to go on: Postfix meets a closed connection,
    tempfails, and systemd starts us again.
    """
    session = getattr(_here, "session", None)
    _log_fault("call", kind, trace)
    if kind is not UnicodeDecodeError or session is None:
        _exit(EX_SOFTWARE)
    session.spoil("header")


def _serve(settings: Settings, open_socket: Callable[[], None]) -> None:
    """Registers with libmilter, opens the socket, and runs until SIGTERM, SIGINT or SIGHUP."""
    for stage in ("connect", "envfrom", "envrcpt", "header", "eoh", "body", "eom", "abort"):
        getattr(milter, f"set_{stage}_callback")(_callback(stage, settings))
    milter.set_close_callback(_close)
    milter.set_flags(_ACTIONS)
    # An error reply where Postfix was told not to wait for one would leave both waiting: see `_uncallable`.
    milter.set_exception_policy(milter.CONTINUE)
    milter.register("chatmail-milter", negotiate=_callback("negotiate", settings))
    open_socket()
    sys.excepthook = _uncallable
    milter.main()


def _open(where: str) -> None:
    milter.setconn(where)
    milter.opensocket(False)


@click.command()
@click.option("--socket", "where", metavar="unix:PATH", help="Listen here, where systemd gives no socket.")
def main(where: str | None) -> None:
    """Answer Postfix about every message, on the socket that systemd opened."""
    settings = Settings.of(load_or_exit())
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    try:
        descriptor = listen.inherited()
        if descriptor is not None:
            given = descriptor
            _serve(settings, lambda: listen.substitute(given, lambda path: _open(f"unix:{path}")))
        elif where is not None:
            _serve(settings, lambda: _open(where))
        else:
            raise click.UsageError("no socket: start it by its systemd socket unit, or give --socket")
    except (listen.ListenError, milter.error) as error:
        log.error("can't listen: %s", error)
        sys.exit(EX_OSERR)
