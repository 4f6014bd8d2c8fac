"""The program `chatmail-milter`, which Postfix asks about every message. `session.py` has the callbacks.

libmilter runs connections in its threads, and drops exceptions of callbacks. So this module turns every bug
of ours into a 451 and a traceback in the log, without content.
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
from chatmail_milter.milter.transaction import RuleSettings
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


def _callback(stage: str, settings: RuleSettings, control: AdmissionControl) -> Callable[..., int]:
    """The session's method for `stage`, wrapped for libmilter: catches all exceptions."""
    method: Callable[..., int] = getattr(MilterSession, stage)

    def call(ctx: Any, *args: Any) -> int:
        session = ctx.getpriv()
        if session is None:
            session = _here.session = MilterSession(settings, control)
            ctx.setpriv(session)
        try:
            return method(session, ctx, *args)
        except Exception as fault:
            _log_fault(stage, type(fault), fault.__traceback__, ctx.getsymval("i") or "-")
        session.spoil()
        return answer(ctx, codes.OUR_FAULT) if stage in ANSWERED else NO_REPLY

    return call


def _close(ctx: Any) -> int:
    ctx.setpriv(None)
    return CONTINUE


def _log_fault(
    stage: str, kind: type[BaseException], trace: TracebackType | None, queue_id: str = "-"
) -> None:
    # Where, but not str(fault): that may hold what the message said.
    frames = "".join(traceback.format_tb(trace))
    log.error("stage=%s fault=%s queue=%s\n%s", stage, kind.__name__, queue_id, frames.rstrip())


def _uncallable(kind: type[BaseException], _fault: BaseException, trace: TracebackType | None) -> None:
    """Called if pymilter could not call the callback, after which it would continue as after CONTINUE.

    A stranger can cause this only by a header name that is not UTF-8 (not through Postfix, for which such a
    line is not a header field). Anything else leaves too little information: the program exits, Postfix
    defers the message, and systemd restarts the program.
    """
    session = getattr(_here, "session", None)
    _log_fault("call", kind, trace)
    if kind is not UnicodeDecodeError or session is None:
        os._exit(os.EX_SOFTWARE)
    session.spoil()


def _serve(settings: RuleSettings, control: AdmissionControl, open_socket: Callable[[], None]) -> None:
    """Registers with libmilter, opens the socket, and runs for ever.

    At a signal libmilter would end it up to five seconds later: see `processes`.
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
    help="Listen there, if systemd passes no socket. Postfix's group may connect.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=default_workers,
    show_default="one for two processors, 4 at most",
    help="Number of processes.",
)
def main(where: str | None, processes: int) -> None:
    """Judge every message for Postfix, on the socket that systemd opened.

    Add the socket's path to smtpd_milters of Postfix, as seen from its chroot, such as
    unix:chatmail/milter.sock. If Postfix serves other domains, too, mail.chat_domains in chatmail.toml(5)
    names those whose mail is judged, and this program verifies DKIM itself. Otherwise OpenDKIM must come
    before it in smtpd_milters, with mail.hostname as its authserv-id, and Postfix must remove
    Authentication-Results from incoming messages.
    """
    config = load_or_exit()
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    # In each process its own, when first asked for: the program may be there before its store is.
    engine = cache(lambda: existing_store(config.store.url))
    settings = RuleSettings.of(config, _checks(config, engine))
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
    """The socket from systemd, else a new one at `where`. Raises `NotActivatedError`."""
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
