"""`chatmailctl gate check` gives for a file the verdict that the milter gives behind a real Postfix.

Not the verdict alone: the reason, and how many octets the milter saw, so that it is the same message.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from chatmail_milter.ctl.gate import gate
from chatmail_milter.ctl.received import receive
from chatmail_milter.gate.gate import Direction
from tests import messages
from tests.chat import journal, settings, smtp
from tests.chat.deadline import until
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.plan import POSTFIX_VERSIONS, PROGRAMS
from tests.odd_files import ODD

PEER = "peer.lab"
LOGGED = re.compile(r"road=\S+ verdict=\S+ reason=(?P<reason>\S+) queue=(?P<queue>\S+) size=(?P<size>\d+)")
# What the milter says of unsigned mail that the gate lets pass, for which `gate check` doesn't ask.
UNSIGNED = "dkim-none"


PASS = ("encrypted", "securejoin")


def test_the_command_takes_the_version_of_its_host(a: LabHost, b: LabHost) -> None:
    for host in (a, b):
        said = host.run(["postconf", "-dh", "mail_version"]).stdout
        assert said.startswith(f"{POSTFIX_VERSIONS[host.host.release]}.")
        # The second line folds the first, or is in the way of a header.
        text = ODD["an mbox line that goes on"].decode()
        for version in ("", *POSTFIX_VERSIONS.values()):
            words = [f"{PROGRAMS}/chatmailctl", "gate", "check", *(["--postfix", version] if version else [])]
            found = host.run(words, input=text, check=False).stdout
            told = version or POSTFIX_VERSIONS[host.host.release]
            assert found.startswith("pass: " if told == "3.10" else "reject: "), (host.domain, version)


def author(host: LabHost, octets: bytes) -> bool:
    major, minor = map(int, POSTFIX_VERSIONS[host.host.release].split("."))
    received = receive(io.BytesIO(octets), Direction.IN, (major, minor))
    assert received is not None
    return any(name.lower() == "from" for name, _ in received.fields)


@pytest.fixture
def _no_rate(a: LabHost) -> Iterator[None]:
    with settings.changed(a, "rate_per_minute", "0", settings.MILTER):
        yield


def by_milter(
    host: LabHost, mark: str, send: Callable[[bytes], object], files: dict[str, bytes]
) -> dict[str, tuple[str, int]]:
    """Reason and octets of each file, as the milter logged them.

    Others' mail still comes in meanwhile: Postfix writes `mark` beside the queue id of what is `send`'s.
    """
    began = float(host.run("date +%s.%N").stdout)
    for octets in files.values():
        send(sent(octets))

    def logged() -> list[tuple[str, int]] | None:
        entries = journal.read(host, began)
        ours = {one.text.partition(":")[0] for one in entries if mark in one.text}
        lines = (LOGGED.match(one.text) for one in entries if one.who == "chatmail-milter")
        found = [(line["reason"], int(line["size"])) for line in lines if line and line["queue"] in ours]
        return found if len(found) >= len(files) else None

    said = until("the milter has logged all", logged, 20)
    return dict(zip(files, said, strict=True))


def sent(octets: bytes) -> bytes:
    """As a client has to end a message: with a CRLF before the dot (RFC 5321, 4.1.1.4)."""
    return octets.removesuffix(b"\n").removesuffix(b"\r") + b"\r\n" if octets[-1:] == b"\n" else octets


def by_command(host: LabHost, files: dict[str, bytes], *arguments: str) -> dict[str, tuple[str, int]]:
    """The same, as the command would say on this host."""
    words = ["check", "--json", "--postfix", POSTFIX_VERSIONS[host.host.release], *arguments]

    def ask(octets: bytes) -> tuple[str, int]:
        said: Any = json.loads(CliRunner().invoke(gate, words, input=octets).stdout)
        return said["reason"], said["message"]["size"]

    return {name: ask(octets) for name, octets in files.items()}


@pytest.mark.usefixtures("_no_rate")
def test_on_submission(a: LabHost, writer: Login, reader: Login) -> None:
    files = {
        name: octets.replace(messages.ALICE.encode(), writer[0].encode()) for name, octets in ODD.items()
    }
    mark = f"sasl_username={writer[0]}"
    said = by_milter(a, mark, lambda octets: smtp.submit(a.ip, writer, [reader[0]], octets), files)
    assert by_command(a, files, "--sender", writer[0], "--recipient", reader[0]) == said


def test_coming_in(b: LabHost, reader: Login) -> None:
    sender = messages.ALICE.replace("a.example", PEER)
    files = {name: octets.replace(messages.ALICE.encode(), sender.encode()) for name, octets in ODD.items()}
    # All are refused, as unsigned if for nothing else.
    mark = f"from=<{sender}>"
    said = by_milter(b, mark, lambda octets: smtp.deliver(b.ip, sender, [reader[0]], octets), files)
    asked = by_command(b, files, "--direction", "in", "--sender", sender)
    reasons = {name: UNSIGNED if reason in PASS else reason for name, (reason, _) in asked.items()}
    assert reasons == {name: reason for name, (reason, _) in said.items()}
    # What OpenDKIM adds above the message is as long for all of one author, and for all of none.
    more = {name: size - asked[name][1] for name, (_, size) in said.items()}
    none = {name for name, octets in files.items() if not author(b, octets)}
    assert len({size for name, size in more.items() if name in none}) == 1, more
    assert len({size for name, size in more.items() if name not in none}) == 1, more
