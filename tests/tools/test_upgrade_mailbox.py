"""What the test of upgrades reads mailboxes with, against a server that says what a script says."""

from __future__ import annotations

import imaplib
import socket
import threading
from collections.abc import Sequence

import pytest

from tests.lab import LabError
from tests.upgrade.earlier import Earlier
from tests.upgrade.mailbox import KeptMessage, fetch


def message(mid: str) -> bytes:
    return f"Message-ID: <{mid}>\r\n\r\nhello\r\n".encode()


def serve(listener: socket.socket, answers: Sequence[bytes]) -> None:
    """Answers each command with the next of `answers`, and its tag in place of `TAG`."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rwb") as stream:
        stream.write(b"* OK [CAPABILITY IMAP4rev1] hello\r\n")
        stream.flush()
        for answer, line in zip(answers, stream, strict=False):
            stream.write(answer.replace(b"TAG", line.split()[0]))
            stream.flush()


def test_a_folder_has_uidvalidity_uids_flags_and_no_message_below_the_first() -> None:
    one, two = message("one@x"), message("two@x")
    answers = [
        b"* CAPABILITY IMAP4rev1\r\nTAG OK done\r\n",
        b"* 2 EXISTS\r\n* OK [UIDVALIDITY 77] valid\r\nTAG OK [READ-ONLY] done\r\n",
        b"* 1 FETCH (UID 4 FLAGS (\\Seen \\Recent) BODY[] {%d}\r\n%s)\r\n" % (len(one), one)
        + b"* 2 FETCH (UID 9 FLAGS () BODY[] {%d}\r\n%s)\r\nTAG OK done\r\n" % (len(two), two),
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, answers), daemon=True)
        thread.start()
        session = imaplib.IMAP4("127.0.0.1", listener.getsockname()[1], timeout=60)
        session.state = "AUTH"
        found = fetch(session, "INBOX", 5)
        session.shutdown()
        thread.join()
    assert found.validity == 77
    ((uid, kept),) = found.messages.items()
    assert (uid, kept.mid, kept.flags) == (9, "two@x", frozenset())
    assert kept != KeptMessage("two@x", frozenset(), "of other octets")


def test_a_version_that_git_does_not_know_is_refused() -> None:
    with pytest.raises(LabError, match="git knows no v99"):
        Earlier.of("v99")
