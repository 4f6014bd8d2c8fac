"""Hostile answers on a kept connection: interim responses, surplus responses, endless TLS records."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import cast

import pytest

from mxdeliv_app.https.answer import MOST_INTERIM, FinalResponse
from mxdeliv_app.https.connection import must_be_replaced
from mxdeliv_app.https.event_loop import StallGuard
from tests.lab import ca

FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


class AnswerOctets:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._octets)


def response(octets: bytes) -> FinalResponse:
    found = FinalResponse(cast(socket.socket, AnswerOctets(octets)), method="POST")
    found.begin()
    return found


@pytest.mark.parametrize("code", [100, 102, 103])
def test_a_few_interim_answers_are_read_over(code: int) -> None:
    interim = b"HTTP/1.1 %d Go on\r\n\r\n" % code
    assert response(MOST_INTERIM * interim + FINAL).read() == b"OK"


@pytest.mark.parametrize("code", [100, 102, 103])
def test_a_flood_of_interim_answers_is_no_answer(code: int) -> None:
    interim = b"HTTP/1.1 %d Go on\r\n\r\n" % code
    with pytest.raises(HTTPException):
        response((MOST_INTERIM + 1) * interim + FINAL)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Both ends of a TLS connection."""
    certificate, key = ca.self_signed(tmp_path, "peer.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    ours, theirs = socket.socketpair()
    peers: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: peers.append(server.wrap_socket(theirs, server_side=True)))
    thread.start()
    with client.wrap_socket(ours) as one:
        thread.join(60)
        with peers[0] as other:
            yield one, other


def test_octets_that_openssl_holds_are_noticed(tls: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    ours, theirs = tls
    theirs.sendall(FINAL + FINAL)
    assert ours.recv(len(FINAL)) == FINAL
    assert must_be_replaced(ours)


class ScriptedConnection:
    def __init__(self) -> None:
        self.was_cut = threading.Event()

    def cut(self) -> None:
        self.was_cut.set()


def test_a_read_that_does_not_end_is_cut() -> None:
    guard, endless, quick = StallGuard(), ScriptedConnection(), ScriptedConnection()
    with guard.reading(quick):
        pass
    with guard.reading(endless):
        assert endless.was_cut.wait(120)
    assert not quick.was_cut.is_set()
