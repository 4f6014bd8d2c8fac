"""What Postfix's smtp(8) did with the mail that went back to it, counted from its own log lines.

`contact` is pure: one log line to one attempt. `Follower` reads the journal as it grows; how far it has
read is stored together with the counts, so that a restart neither loses nor doubles any.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config import Endpoint
from chatmail_milter.store.peers import Contact, Peers

IDENTIFIER = "postfix/smtp-mx/smtp"  # syslog_name of the transport, and smtp(8)'s own
_AGAIN_AFTER = 5.0  # seconds, when journalctl ends or the store is away

# smtp(8) logs one such line for each recipient. delays=a/b/c/d: c is connecting, d is transmission.
_LINE = re.compile(
    r"(?P<queue_id>[0-9A-Za-z]+): to=<[^>]*@(?P<domain>[^>@]*)>,(?: orig_to=<[^>]*>,)? relay=(?P<relay>\S+),"
    r"(?: conn_use=\d+,)? delay=[^,/]+, delays=[^,/]+/[^,/]+/(?P<connect>[\d.e+-]+)/(?P<send>[\d.e+-]+),"
    r" dsn=(?P<dsn>\d)\.\d+\.\d+, status=(?P<status>sent|deferred|bounced) (?P<text>.*)"
)
# The first that fits the text of a failure names it.
_REASONS = (
    ("tls", re.compile(r"TLS|certificate", re.IGNORECASE)),
    ("timeout", re.compile(r"timed out")),
    ("dns", re.compile(r"Host or domain name not found|Name service error|no A or AAAA")),
    ("connect", re.compile(r"refused\)|unreachable|No route to host|\(connect to ")),
    ("network", re.compile(r"lost connection")),
)

log = logging.getLogger(__name__)


class Transactions:
    """Recognizes lines of one transaction, which smtp(8) writes for each of its recipients."""

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._last: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def is_new(self, queue_id: str, *facts: str) -> bool:
        """Whether these are other facts than those seen last for `queue_id`."""
        known = self._last.pop(queue_id, None)
        self._last[queue_id] = facts
        if len(self._last) > self._size:
            self._last.popitem(last=False)
        return known != facts


def contact(message: str, at: datetime, https_only: Endpoint, transactions: Transactions) -> Contact | None:
    """The attempt that a log line tells of; None for other lines and further recipients of one attempt."""
    found = _LINE.search(message)
    if found is None:
        return None
    try:
        domain = address.domain(found["domain"])
    except MalformedAddressError:
        return None
    status = found["status"]
    if not transactions.is_new(
        found["queue_id"], domain, found["relay"], found["connect"], found["send"], status
    ):
        return None
    if found["relay"].endswith(f":{https_only.pair[1]}") and found["relay"].startswith(https_only.pair[0]):
        # The fallback relay is ourselves; but smtp(8) only comes here when SMTP by MX has failed.
        return Contact(domain, "smtp", False, None, "handed-back", at)
    if status == "sent":
        return Contact(domain, "smtp", True, float(found["connect"]) + float(found["send"]), None, at)
    named = (name for name, pattern in _REASONS if pattern.search(found["text"]))
    said = " said: " in found["text"] or " refused to talk to me: " in found["text"]
    reason = f"smtp-{found['dsn']}yz" if said else next(named, f"smtp-{found['dsn']}yz")
    return Contact(domain, "smtp", False, None, reason, at)


class Follower(threading.Thread):
    """Counts from now on until `stop`; `journalctl` is its child."""

    def __init__(self, peers: Peers, https_only: Endpoint) -> None:
        super().__init__(name="smtplog", daemon=True)
        self._peers = peers
        self._https_only = https_only
        self._transactions = Transactions()
        self._reader = f"smtplog@{socket.gethostname()}"
        self._stopped = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Follow the journal, beginning again where it was left whenever something goes wrong."""
        journalctl = shutil.which("journalctl")
        if journalctl is None:
            log.warning("event=no-journalctl consequence=smtp-is-not-counted")
            return
        while not self._stopped.is_set():
            try:
                self._follow(journalctl)
                if not self._stopped.is_set():
                    log.warning("event=journalctl-ended again_after=%.0fs", _AGAIN_AFTER)
            except SQLAlchemyError as error:
                log.error("event=smtp-not-counted error=%s", type(error).__name__)
            self._stopped.wait(_AGAIN_AFTER)

    def stop(self) -> None:
        """End the thread and its child."""
        self._stopped.set()
        if self._child is not None:
            self._child.terminate()

    def _follow(self, journalctl: str) -> None:
        mark = self._peers.mark(self._reader)
        command = [
            journalctl,
            "--follow",
            "--no-tail",
            # Else only entries of this boot, by an ID that a sandboxed service in a container sees wrong.
            "--merge",
            "--quiet",
            "--output=json",
            "--output-fields=MESSAGE",
            f"SYSLOG_IDENTIFIER={IDENTIFIER}",
        ]
        if mark is not None:
            command.append(f"--after-cursor={mark}")
        # No user's words are in the command: the cursor is journalctl's own.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as child:  # noqa: S603
            self._child = child
            try:
                for at, message, cursor in _entries(child):
                    found = contact(message, at, self._https_only, self._transactions)
                    if found is not None:
                        self._peers.add([found], reader=self._reader, mark=cursor)
            finally:
                child.terminate()


def _entries(child: subprocess.Popen[str]) -> Iterator[tuple[datetime, str, str]]:
    for line in child.stdout or ():
        entry = json.loads(line)
        message = entry.get("MESSAGE")
        if isinstance(message, str):  # octets that are not UTF-8 come as a list of numbers
            at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
            yield at, message, entry["__CURSOR"]
