"""When a client hangs up during RCPT, the app asks Postfix about no more of its recipients."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from mxdeliv_app.mxdeliv.inject import InjectedEnvelope, Injector, InjectPorts
from mxdeliv_app.mxdeliv.smtp_client import ClientLeftError
from tests.blackbox.web.queue_port import QueuePort

PEER = ipaddress.ip_address("192.0.2.7")
# MAIL and its recipients are sent in batches, of 16 commands at first and then 100.
FIRST_BATCH = 15
MESSAGE = [b"Subject: test\r\n\r\ntext\r\n"]


def envelope(recipients: int) -> InjectedEnvelope:
    return InjectedEnvelope(
        PEER, "eve@b.example", tuple(f"u{one}@a.example" for one in range(recipients)), None
    )


@pytest.fixture
def queue() -> Iterator[QueuePort]:
    with QueuePort() as port:
        yield port


def injector(queue: QueuePort) -> Injector:
    return Injector(InjectPorts(queue.endpoint, queue.endpoint))


def test_no_batch_is_sent_after_the_client_left(queue: QueuePort) -> None:
    with pytest.raises(ClientLeftError):
        injector(queue).inject(envelope(1000), MESSAGE, each_is_told=True, client_left=lambda: True)
    assert len(queue.said("RCPT")) == FIRST_BATCH
    assert queue.messages() == []


def test_nor_on_a_connection_that_was_kept(queue: QueuePort) -> None:
    ours = injector(queue)
    ours.inject(envelope(1), MESSAGE, each_is_told=True)
    with pytest.raises(ClientLeftError):
        ours.inject(envelope(1000), MESSAGE, each_is_told=True, client_left=lambda: True)
    assert len(queue.conversations) == 1
    assert len(queue.said("RCPT")) == 1 + FIRST_BATCH
    assert len(queue.messages()) == 1


def test_the_port_that_bounces_is_asked_no_more_either(queue: QueuePort) -> None:
    queue.script = {"RCPT TO:<u0@": "550 5.1.1 User unknown"}
    with QueuePort() as mixed:
        ours, asked = Injector(InjectPorts(queue.endpoint, mixed.endpoint)), iter([False, True])
        many = envelope(FIRST_BATCH + 1)
        with pytest.raises(ClientLeftError):
            ours.inject(many, MESSAGE, each_is_told=False, client_left=lambda: next(asked))
        assert len(mixed.said("RCPT")) == FIRST_BATCH


def test_a_client_that_waits_has_all_recipients_named(queue: QueuePort) -> None:
    asked: list[int] = []

    def client_left() -> bool:
        asked.append(len(queue.said("RCPT")))
        return False

    replies = injector(queue).inject(envelope(1000), MESSAGE, each_is_told=True, client_left=client_left)
    assert [one.reply.code for one in replies] == [250] * 1000
    assert asked == list(range(FIRST_BATCH, 1000, 100))
