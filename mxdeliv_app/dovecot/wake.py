"""`chatmail-wake`: makes Dovecot notify an idling client of every message.

Dovecot notifies an idling client 500 ms after its mailbox changed, or at once if the client is hibernated.
But a change less than 500 ms before hibernation is lost (mailbox-watch.c in 2.3 and 2.4: hibernation drops
the timer, and its own watch begins afterwards). So Dovecot posts each delivery here (an event_exporter, at a
secret URL), and this program then creates a file in the mailbox twice, which wakes a hibernated client. Runs
as the mailboxes' user; started by its systemd socket with their directory. docs/idle.md has measurements.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import click

from chatmail_milter.mailboxes.home import home
from chatmail_milter.systemd import listening_or_exit, log_to_stderr
from mxdeliv_app.dovecot.deliveries import delivery_listener, secret_path

URL_FILE = Path("/etc/chatmail/wake.url")
# A client is awake for 40 ms (imap_hibernate_timeout) after it began to idle or was told of something; that
# is when all but the first message of a burst come. After the first delay it sleeps, 20 ms being for going
# there. On a host too busy for that it does after the second, longer than the timer that may have been lost.
DELAYS = (0.06, 0.6)  # seconds

log = logging.getLogger(__name__)

_Queue = queue.SimpleQueue[tuple[float, Path]]


class Waker:
    """Wakes the clients of a mailbox after each of `delays`, in seconds."""

    def __init__(self, mailboxes: Path, delays: Sequence[float] = DELAYS) -> None:
        self._mailboxes = mailboxes
        # What comes first is due first, for each delay by itself.
        self._due = {delay: _Queue() for delay in delays}
        for due in self._due.values():
            threading.Thread(target=_run, args=(due,), name="waker", daemon=True).start()

    def delivered(self, user: str) -> None:
        """Notes a delivery to `user`, a canonical address."""
        directory = inbox(self._mailboxes, user)
        if directory is not None:
            for delay, due in self._due.items():
                due.put((time.monotonic() + delay, directory))


def _run(queued: _Queue) -> None:
    while True:
        due, directory = queued.get()
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            poke_maildir(directory)
        except OSError as error:
            # The account may be gone by now; Dovecot goes on without us in any case.
            log.warning("event=not-woken error=%s", type(error).__name__)


def inbox(mailboxes: Path, user: str) -> Path | None:
    """The directory of new mail of `user`; None if the name is invalid."""
    found = home(mailboxes, user)
    return None if found is None else found / "Maildir" / "new"


def poke_maildir(directory: Path) -> None:
    """Creates and removes a file in a Maildir's `new`, for inotify. Readers ignore names with a dot."""
    file = directory / ".wake"
    file.touch(mode=0o600)
    file.unlink(missing_ok=True)


@click.command()
@click.argument("mailboxes", metavar="DIRECTORY", type=click.Path(path_type=Path))
@click.option(
    "--listen",
    metavar="HOST:PORT",
    multiple=True,
    help="Listen there, if systemd passes no socket.",
)
def main(mailboxes: Path, listen: tuple[str, ...]) -> None:
    """Make Dovecot notify idling clients of every message. DIRECTORY has all mailboxes.

    An event_exporter of Dovecot posts deliveries to the URL in /etc/chatmail/wake.url.
    """
    log_to_stderr()
    path = secret_path("chatmail-wake", Path(os.environ.get("CHATMAIL_WAKE_URL", URL_FILE)))
    (found,) = listening_or_exit("chatmail-wake", listen, {"deliveries"}).values()
    waker = Waker(mailboxes)
    delivery_listener(found, path, lambda delivery: waker.delivered(delivery.user)).serve_forever()
