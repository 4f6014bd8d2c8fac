"""What the relay says to Postfix's reinject port, octet for octet, and what it makes of the replies."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from chatmail_milter.config.values import HostPort
from chatmail_milter.verdict import Reply
from mxdeliv_app.relay.fallback import Fallback
from mxdeliv_app.relay.queued_message import QueuedMessage, Recipient
from tests.blackbox.web.queue_port import QueuePort, Script

CONTENT = b"Subject: test\r\n\r\ntext\r\n"
AWAY = Reply(451, "4.3.2", "Local mail system is not taking mail, try again later")


@pytest.fixture
def queue() -> Iterator[QueuePort]:
    with QueuePort() as port:
        yield port


def mail_to(*recipients: str, sender: str = "alice@here.test", content: bytes = CONTENT) -> QueuedMessage:
    known = tuple(Recipient(raw, "b.test", None) for raw in recipients)
    return QueuedMessage(sender, known, content, smtputf8=not sender.isascii())


def handed_back(queue: QueuePort, message: QueuedMessage) -> list[str]:
    host, port = queue.endpoint
    fallback = Fallback(HostPort(f"{host}:{port}"), "mail.here.test")
    return [reply.line for reply in fallback.hand_over(message, message.recipients)]


def test_the_envelope_goes_over_as_it_came(queue: QueuePort) -> None:
    replies = handed_back(queue, mail_to('"a b"@b.test', "Bob@b.test"))
    assert replies == ["250 2.0.0 Ok: queued as 4ABC"] * 2
    (conversation,) = queue.conversations
    assert conversation.commands[:5] == [
        "EHLO mail.here.test",
        f"MAIL FROM:<alice@here.test> BODY=8BITMIME SIZE={len(CONTENT)}",
        'RCPT TO:<"a b"@b.test>',
        "RCPT TO:<Bob@b.test>",
        "DATA",
    ]
    assert conversation.messages == [CONTENT]


@pytest.mark.parametrize(
    ("sender", "parameters"), [("", ""), ("ålice@here.test", " SMTPUTF8")], ids=["a bounce", "utf-8"]
)
def test_the_sender_goes_over_as_it_came(queue: QueuePort, sender: str, parameters: str) -> None:
    handed_back(queue, mail_to("bob@b.test", sender=sender))
    assert queue.said("MAIL") == [f"MAIL FROM:<{sender}> BODY=8BITMIME SIZE={len(CONTENT)}{parameters}"]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b".\r\n..\r\nx.\r\n.y\r\n", b"..\r\n...\r\nx.\r\n..y\r\n"),
        (b"", b"\r\n"),
        (b"no end", b"no end\r\n"),
        (b"\xff\x00 8 bits\r\n", b"\xff\x00 8 bits\r\n"),
    ],
    ids=["dots", "empty", "no line end", "octets"],
)
def test_the_content_arrives_as_it_came(queue: QueuePort, content: bytes, sent: bytes) -> None:
    assert handed_back(queue, mail_to("bob@b.test", content=content)) == ["250 2.0.0 Ok: queued as 4ABC"]
    assert queue.messages() == [sent]


def test_each_recipient_gets_its_own_reply(queue: QueuePort) -> None:
    names = [f"u{number}@b.test" for number in range(120)]  # more than one batch of commands
    queue.script = {
        "RCPT TO:<u1@": "550 5.1.1 <u1@b.test>: User unknown",
        "RCPT TO:<u17@": "450 Later",
        "RCPT TO:<u119@": "452 4.2.2 Full",
    }
    expected = ["250 2.0.0 Ok: queued as 4ABC"] * 120
    expected[1], expected[17], expected[119] = (
        "550 5.1.1 <u1@b.test>: User unknown",
        "450 Later",
        "452 4.2.2 Full",
    )
    assert handed_back(queue, mail_to(*names)) == expected
    assert queue.said("RCPT") == [f"RCPT TO:<{name}>" for name in names]
    assert queue.messages() == [CONTENT]


@pytest.mark.parametrize(
    ("script", "replies"),
    [
        ({"MAIL": "452 4.3.1 Insufficient system storage"}, ["452 4.3.1 Insufficient system storage"] * 2),
        ({"RCPT": "554 5.7.1 No"}, ["554 5.7.1 No"] * 2),
        ({".": "554 5.6.0 Error"}, ["554 5.6.0 Error"] * 2),
        ({".": "250 Ok"}, ["250 Ok"] * 2),
        ({".": "250 2.0.0"}, ["250 2.0.0"] * 2),
        ({".": "250"}, ["250"] * 2),
        ({".": "550 2.0.0.1 Ok"}, ["550 2.0.0.1 Ok"] * 2),
        ({".": "554-5.6.0 Error\r\n554 of a line"}, ["554 5.6.0 Error of a line"] * 2),
    ],
    ids=[
        "sender",
        "recipients",
        "content",
        "no status",
        "no text",
        "no reply text",
        "no such status",
        "lines",
    ],
)
def test_what_postfix_said_is_said_again(queue: QueuePort, script: Script, replies: list[str]) -> None:
    queue.script = script
    assert handed_back(queue, mail_to("u0@b.test", "u1@b.test")) == replies


@pytest.mark.parametrize(
    "script",
    [
        {"": "554 5.3.2 No"},
        {"": None},
        {"EHLO": "554 5.3.2 No", "HELO": "554 5.3.2 No"},
        {"MAIL": None},
        {"RCPT TO:<u1@": None},
        {"DATA": "451 4.3.0 Error"},
        {"DATA": None},
        {".": None},
        {".": "Ok"},
    ],
    ids=["greeting", "no greeting", "EHLO", "MAIL", "RCPT", "DATA", "hung up at DATA", "no reply", "no SMTP"],
)
def test_what_gives_no_reply_is_for_later(
    queue: QueuePort, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    queue.script = script
    assert handed_back(queue, mail_to("u0@b.test", "u1@b.test")) == [AWAY.line] * 2
    assert "event=reinject-failed" in caplog.text


def test_a_port_that_nobody_serves_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    message = mail_to("bob@b.test")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    fallback = Fallback(HostPort(f"127.0.0.1:{port}"), "mail.here.test")
    assert fallback.hand_over(message, message.recipients) == [AWAY]
    assert "error=ConnectionRefusedError: " in caplog.text
    assert f"listen.reinject, 127.0.0.1:{port}: " in caplog.text
