"""Starts the installed milter for tests: with an inherited socket, as from systemd, and its own store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from chatmail_milter.store.engine import open_store
from tests import messages, packets
from tests.messages import ALICE, BOB
from tests.milter_client import MilterAnswer, MilterClient, wait_for

PROGRAM = str(Path(sys.executable).with_name("chatmail-milter"))
MINIMAL = '[mail]\ndomain = "a.example"\nhostname = "mx.a.example"\n'
GOOD = messages.sealed(packets.pkesk() + packets.seipd())
CLEAR = messages.text()
CLEARTEXT = "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
OUR_FAULT = "451 4.3.0 Internal error, try again later"


def config(
    store: Path, per_minute: int = 0, burst: int = 10, inbound: str = "", submission: str = "", mail: str = ""
) -> str:
    """A configuration, without a limit if not told otherwise. DNS is asked at `dns` beside the store."""
    return (
        f"{MINIMAL}{mail}\n[submission]\nrate_per_minute = {per_minute}\nrate_burst = {burst}\n{submission}\n"
        f'[store]\nurl = "sqlite:///{store}"\n'
        f'[listen]\nresolver = "{store.parent}/dns"\n[inbound]\n{inbound}'
    )


class InstalledMilter:
    """The program, listening at `path`; `log` is what it has written so far."""

    def __init__(
        self,
        directory: Path,
        per_minute: int = 0,
        burst: int = 10,
        store: str = "store",
        processes: int = 2,
        inbound: str = "",
        submission: str = "",
        mail: str = "",
        **environment: str,
    ) -> None:
        """`store`: where in the directory.

        `inbound`, `submission` and `mail` are more of the configuration's sections of these names.
        """
        self.path = str(directory / "s")
        self.store = directory / store
        self._log = directory / "log"
        if self.store.parent.is_dir():
            self.store.touch()
        (directory / "chatmail.toml").write_text(
            config(self.store, per_minute, burst, inbound, submission, mail)
        )
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen(100)
        environment["CHATMAIL_CONFIG"] = str(directory / "chatmail.toml")
        self.process = inherit(listening, self._log, environment, "--processes", str(processes))
        listening.close()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def resident(self) -> int:
        """KiB of memory now, of all processes."""
        return self._status("VmRSS")

    @property
    def most_resident(self) -> int:
        """KiB of memory, the most so far, of all processes."""
        return self._status("VmHWM")

    @property
    def threads(self) -> int:
        """How many there are."""
        return self._status("Threads")

    def engine(self) -> Engine:
        """The store, as another program opens it."""
        return open_store(f"sqlite:///{self.store}")

    def submit(self, message: bytes = GOOD, sender: str = ALICE, *recipients: str) -> MilterAnswer:
        with MilterClient(self.path) as client:
            client.connect("submission")
            return client.message(sender, recipients or [BOB], message)

    def take(
        self,
        message: bytes = GOOD,
        sender: str = ALICE,
        *results: str,
        road: str = "smtp",
        peer: str = "192.0.2.7",
        chunk: int = 65535,
    ) -> MilterAnswer:
        """The answer to a message from a peer, to which OpenDKIM added `results` (see `told`)."""
        with MilterClient(self.path) as client:
            client.connect(road, peer)
            return client.message(sender, [BOB], told(*results) + message, chunk)

    @property
    def pids(self) -> list[int]:
        """Of the processes that share the work."""
        of_main_thread = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        # One alone does the work itself.
        return [int(pid) for pid in Path(of_main_thread).read_text().split()] or [self.process.pid]

    def _status(self, name: str) -> int:
        """The sum over the processes."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids]
        return sum(int(text.partition(f"{name}:")[2].split()[0]) for text in texts)


@contextmanager
def running(**options: Any) -> Iterator[InstalledMilter]:
    """A milter with these options of `InstalledMilter`, which must still be there at the end."""
    # Not tmp_path: a socket's path has at most 107 octets. An engine of the test itself may make a
    # checkpoint, and with it a file, while the directory is removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        milter = InstalledMilter(Path(directory), **options)
        try:
            wait_for(milter.path)
            yield milter
            assert milter.process.poll() is None, milter.log
        finally:
            milter.process.terminate()
            milter.process.wait(timeout=120)


def inherit(
    listening: socket.socket, log: Path, environment: dict[str, str], *arguments: str
) -> subprocess.Popen[bytes]:
    """Starts the program with `listening` as descriptor 3, the way systemd does (sd_listen_fds(3))."""

    def become_systemd() -> None:
        os.dup2(listening.fileno(), 3, inheritable=True)
        os.environ.update(environment, LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))

    with log.open("wb") as stderr:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            preexec_fn=become_systemd,
            pass_fds=(3,),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )


def signed(by: str = "a.example", result: str = "pass") -> str:
    """What OpenDKIM adds."""
    named = f"header.d={by} header.a=rsa-sha256 header.s=chatmail header.b=AbCdEfGh"
    return f"mx.a.example; dkim={result} (2048-bit key; unprotected) {named}"


def told(*results: str) -> bytes:
    """The fields of `results`, each above the signature that it names.

    Only OpenDKIM can find such a signature valid: its body hash is none.
    """
    added = ""
    for result in results:
        added += f"Authentication-Results: {result}\r\n"
        if "header.b=AbCdEfGh" in result:
            by = result.partition("header.d=")[2].split()[0]
            tags = f"v=1; a=rsa-sha256; d={by}; s=chatmail; h=from:date; bh=AAAA; b=AbCdEfGhIjKl"
            added += f"DKIM-Signature: {tags}\r\n"
    return added.encode()


def written_by(author: str) -> bytes:
    """A good message of `author`."""
    return GOOD.replace(b"<alice@a.example>", f"<{author}>".encode(), 1)


def code(answer: MilterAnswer) -> int:
    """The SMTP code that the client gets."""
    return 250 if answer.reply == "continue" else int(answer.reply[:3])
