"""The milter: Postfix asks it about every message. Here is the program around `session.py`.

libmilter runs the connections on its threads, and tells nobody what a callback raised: here every fault of
ours becomes a line in the log with a traceback and without content, and a 451.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import Any, NoReturn

import click
import milter
from sqlalchemy import Engine

from chatmail_milter import codes, systemd
from chatmail_milter.config import Config, load_or_exit
from chatmail_milter.milter.admission import AdmissionControl
from chatmail_milter.milter.session import ACTIONS, ANSWERED, CONTINUE, NO_REPLY, MilterSession, answer
from chatmail_milter.milter.transaction import Settings
from chatmail_milter.origin.checks import OriginChecks
from chatmail_milter.origin.resolver import MilterResolver
from chatmail_milter.processes.prefork import default_workers, prefork
from chatmail_milter.processes.ratelimit import Limiter, Rate
from chatmail_milter.store import checkpoint
from chatmail_milter.store.engine import existing_store, load
from chatmail_milter.store.missing_keys import MissingKeys
from chatmail_milter.store.policies import Policies
from chatmail_milter.store.pseudonyms import load_key
from chatmail_milter.store.refusals import Refusals

log = logging.getLogger("chatmail-milter")

# The session whose callback runs in this thread. libmilter moves sessions between threads, but pymilter gives
# each a thread state of its own, and that is what thread-local data hangs on.
_here = threading.local()


def _callback(stage: str, settings: Settings, control: AdmissionControl) -> Callable[..., int]:
    """The session's method for `stage` as libmilter calls it. Nothing that it raises gets out."""
    method: Callable[..., int] = getattr(MilterSession, stage)

    def call(ctx: Any, *args: Any) -> int:
        session = ctx.getpriv()
        if session is None:
            session = _here.session = MilterSession(settings, control)
            ctx.setpriv(session)
        try:
            return method(session, ctx, *args)
        except Exception as fault:
            _log_fault(stage, type(fault), fault.__traceback__)
        session.spoil()
        return answer(ctx, codes.OUR_FAULT) if stage in ANSWERED else NO_REPLY

    return call


def _close(ctx: Any) -> int:
    ctx.setpriv(None)
    return CONTINUE


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
        os._exit(os.EX_SOFTWARE)
    session.spoil()


def _serve(settings: Settings, control: AdmissionControl, open_socket: Callable[[], None]) -> None:
    """Registers with libmilter, opens the socket, and runs for ever.

    libmilter would end it at a signal, up to five seconds later: see `processes`.
    """
    for stage in ("connect", "envfrom", "envrcpt", "header", "eoh", "body", "eom", "abort"):
        getattr(milter, f"set_{stage}_callback")(_callback(stage, settings, control))
    milter.set_close_callback(_close)
    milter.set_flags(ACTIONS)
    # An error reply where Postfix was told not to wait for one would leave both waiting: see `_uncallable`.
    milter.set_exception_policy(milter.CONTINUE)
    milter.register("chatmail-milter", negotiate=_callback("negotiate", settings, control))
    open_socket()
    sys.excepthook = _uncallable
    milter.main()


def _open(path: str) -> None:
    milter.setconn(f"unix:{path}")
    milter.opensocket(False)


@click.command()
@click.option(
    "--socket",
    "where",
    metavar="unix:PATH",
    help="Listen here, where systemd gives no socket. Postfix's group may connect.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=default_workers,
    show_default="one for two processors, 4 at most",
    help="How many share the work.",
)
def main(where: str | None, processes: int) -> None:
    """Answer Postfix about every message, on the socket that systemd opened.

    Postfix asks where its smtpd_milters has that socket's path, seen from its chroot, such as
    unix:chatmail/milter.sock. Where Postfix serves other domains too, mail.chat_domains in chatmail.toml(5)
    names those whose mail is judged, and DKIM is verified here. Else OpenDKIM has to be asked before, under
    the name of mail.hostname, and Postfix has to drop Authentication-Results that a message brings along.
    """
    config = load_or_exit()
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    # In each process its own, when first asked for: the program may be there before its store is.
    engine = cache(lambda: existing_store(config.store.url))
    settings = Settings.of(config, _checks(config, engine))
    key = load_key()
    control = AdmissionControl(
        lambda: Policies(engine()),
        Limiter(Rate(config.submission.rate_per_minute, config.submission.rate_burst)),
        open_refusals=lambda: Refusals(engine(), key),
        recipients=Limiter(Rate(config.submission.recipients_per_minute, config.submission.recipients_burst)),
    )
    try:
        listening = _listening(where)
    except systemd.NotActivatedError as error:
        _can_t_listen(error)

    def serve() -> None:
        try:
            _serve(settings, control, lambda: systemd.substitute(listening, _open))
        except (systemd.NotActivatedError, milter.error) as error:
            _can_t_listen(error)

    load(config.store.url)
    sys.exit(prefork(processes, serve, checkpoint.finish))


def _checks(config: Config, engine: Callable[[], Engine]) -> OriginChecks:
    resolver = MilterResolver(config.listen.resolver)
    return OriginChecks(resolver, lambda: MissingKeys(engine()), config.inbound.missing_key)


def _listening(where: str | None) -> socket.socket:
    """Systemd's socket, else one at `where`. Raises `NotActivatedError`."""
    given = []
    if not systemd.activated():
        kind, _, path = (where or "").partition(":")
        if kind != "unix" or not path:
            raise click.UsageError(
                "no socket: start it by its systemd socket unit, or give --socket unix:PATH"
            )
        given = [f"unix:{path}"]
    return systemd.listening(given, required=["milter"])["milter"]


def _can_t_listen(error: Exception) -> NoReturn:
    log.error("can't listen: %s", str(error).removeprefix("can't listen at "))
    sys.exit(os.EX_OSERR)
