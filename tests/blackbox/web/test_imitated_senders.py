"""The imitated senders over SMTP: which commands each sends, and what it reports for each recipient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blackbox.web.filtermail_sender import FILTERMAIL
from tests.blackbox.web.madmail_sender import MADMAIL_2
from tests.blackbox.web.queue_port import QueuePort
from tests.blackbox.web.receiver import ALICE, BOB, MESSAGE, SENDER
from tests.blackbox.web.senders import DONE, PeerProgram
from tests.blackbox.web.smtp_line import SmtpLine

DOTS = b"From: <dave1234@b.example>\r\n\r\n.one\r\n"
REFUSAL = f"550 5.1.1 <{BOB}>: Recipient address rejected: User unknown"


@pytest.fixture
def port() -> Iterator[QueuePort]:
    with QueuePort() as port:
        yield port


def report(port: QueuePort, peer: PeerProgram, message: bytes = MESSAGE) -> dict[str, str]:
    return peer.by_smtp(lambda: SmtpLine(*port.endpoint), SENDER, [ALICE, BOB], message)


def test_filtermail_sends_to_all_at_once_and_stuffs_dots(port: QueuePort) -> None:
    assert report(port, FILTERMAIL, DOTS) == {ALICE: DONE, BOB: DONE}
    assert port.messages() == [DOTS.replace(b"\r\n.one", b"\r\n..one")]
    assert port.said("RCPT") == [f"RCPT TO:<{ALICE}>", f"RCPT TO:<{BOB}>"]
    assert port.said("MAIL") == [f"MAIL FROM:<{SENDER}>"]


def test_filtermail_ends_with_a_lone_dot_and_reports_the_reply_to_that(port: QueuePort) -> None:
    port.script = {f"RCPT TO:<{BOB}>": REFUSAL, ".": "523 5.7.1 Encryption Needed"}
    assert report(port, FILTERMAIL) == dict.fromkeys((ALICE, BOB), "523 5.7.1 Encryption Needed")
    assert port.messages() == [b""]


def test_filtermail_reports_the_refusal_if_the_lone_dot_is_taken_or_there_is_no_data(port: QueuePort) -> None:
    port.script = {f"RCPT TO:<{BOB}>": REFUSAL}
    assert report(port, FILTERMAIL) == dict.fromkeys((ALICE, BOB), REFUSAL)
    port.script = {"RCPT": REFUSAL, "DATA": "554 5.5.1 No valid recipients"}
    assert report(port, FILTERMAIL) == dict.fromkeys((ALICE, BOB), REFUSAL)


def test_filtermail_without_pipelining_stops_at_the_first_refusal(port: QueuePort) -> None:
    port.extensions = ("8BITMIME",)
    port.script = {f"RCPT TO:<{BOB}>": REFUSAL}
    assert report(port, FILTERMAIL) == dict.fromkeys((ALICE, BOB), REFUSAL)
    assert port.said("DATA") == []


def test_madmail_sends_to_each_by_itself_and_stuffs_no_dots(port: QueuePort) -> None:
    port.script = {f"RCPT TO:<{BOB}>": REFUSAL}
    assert report(port, MADMAIL_2, DOTS) == {ALICE: DONE, BOB: REFUSAL}
    assert port.messages() == [DOTS]
