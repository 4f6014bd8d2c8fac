"""SMTP to a peer without HTTPS: verified TLS for names, any TLS for `_` domains and literals.

Who is not let down to clear text learns why: the queue tells the operator.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chat import capture, journal, pgp, relay, smtp
from tests.chat.capture import CapturingPeer
from tests.chat.deadline import until
from tests.e2e.conftest import Login
from tests.lab import Lab, ca
from tests.lab.host import LabHost

# Both at the client's address; the operators of the lab's relays make an exception for the first alone.
EXCEPTED = "peer.lab"
PEER = "tls.lab"
SECONDS = 40.0

Certificate = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _no_https(a: LabHost) -> Iterator[None]:
    for domain in (PEER, EXCEPTED):
        relay.operate(a, "route", "set", domain, "--https", "never")
    yield
    for domain in (PEER, EXCEPTED):
        relay.operate(a, "route", "remove", domain)


@contextmanager
def _playing(lab: Lab, certificate: Certificate | None) -> Iterator[CapturingPeer]:
    with capture.smtp_peer(lab.host("client").host, *(certificate or ())) as peer:
        yield peer


def _why_it_waits(a: LabHost, recipient: str, words: str) -> None:
    """Wait until the queue says `words` of a message to `recipient`, which is then taken out of it.

    The relay reads in the log why SMTP failed, so it can say so from the second attempt on."""

    def reasons() -> list[str]:
        return [reason for row in relay.queued(a, recipient) for reason in row["reasons"]]

    def told() -> bool:
        relay.operate(a, "queue", "flush", PEER)
        return any(words in reason for reason in reasons())

    until("it is deferred", reasons, SECONDS, every=0.3)
    try:
        until(f"the queue says {words!r}", told, SECONDS, every=1)
    finally:
        for row in relay.queued(a, recipient):
            a.run(["postsuper", "-d", row["queue_id"]])


def _established(a: LabHost, since: float, host: str) -> set[str]:
    """How far smtp(8) trusted the peer, whoever's mail it brought: `Verified`, `Trusted`, `Untrusted`."""
    said = [
        one.text for one in journal.read(a, since) if f"TLS connection established to {host}[" in one.text
    ]
    return {text.partition(" ")[0] for text in said}


def test_peer_that_proves_its_name_gets_the_mail(lab: Lab, a: LabHost, writer: Login) -> None:
    began = time.time()
    with _playing(lab, ca.issue(lab.paths.ca, [PEER])) as peer:
        peer.next(SECONDS, smtp.send(a.ip, writer, f"dave12345@{PEER}"))
    trusted = until("the journal tells how", lambda: _established(a, began, PEER), SECONDS)
    assert trusted == {"Verified"}


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (lambda lab: None, "TLS is required, but was not offered"),
        (lambda lab: ca.self_signed(lab.paths.ca, PEER), "self-signed certificate"),
        (lambda lab: ca.issue(lab.paths.ca, ["other.lab"]), "hostname mismatch"),
    ],
    ids=["no TLS", "self-signed", "other name"],
)
def test_mail_for_a_peer_that_does_not_waits_and_the_queue_says_why(
    certificate: object, reason: str, lab: Lab, a: LabHost, writer: Login
) -> None:
    recipient = f"{pgp.message_id()[1:9]}@{PEER}"
    assert callable(certificate)
    with _playing(lab, certificate(lab)) as peer:
        smtp.send(a.ip, writer, recipient)
        _why_it_waits(a, recipient, reason)
        assert peer.nothing(recipient)


@pytest.mark.parametrize("with_tls", [False, True])
def test_peer_that_the_operator_excepts_needs_no_proof(
    with_tls: bool, lab: Lab, a: LabHost, writer: Login
) -> None:
    certificate = ca.self_signed(lab.paths.ca, EXCEPTED) if with_tls else None
    with _playing(lab, certificate) as peer:
        peer.next(SECONDS, smtp.send(a.ip, writer, f"dave12345@{EXCEPTED}"))


def test_underscore_domain_needs_tls_but_no_proof(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    began = time.time()
    relay.operate(a, "route", "set", b.domain, "--https", "never")
    try:
        smtp.send(a.ip, writer, reader[0])
        until("it went by SMTP", lambda: _established(a, began, b.domain), SECONDS, every=0.3)
    finally:
        relay.operate(a, "route", "remove", b.domain)
    assert _established(a, began, b.domain) == {"Untrusted"}


def test_literal_needs_tls_but_has_no_name_to_prove(a: LabHost, mta: LabHost, writer: Login) -> None:
    began = time.time()
    smtp.send(a.ip, writer, f"carol@[{mta.ip}]")
    until("it went by SMTP", lambda: _established(a, began, mta.ip), SECONDS, every=0.3)
    # By an authority that is trusted, for another name.
    assert _established(a, began, mta.ip) == {"Trusted"}


def test_peers_that_prove_nothing_must_have_tls(a: LabHost, b: LabHost, mta: LabHost) -> None:
    table = "regexp:/etc/postfix/smtp_tls_unnamed"
    asked = [a.run(["postmap", "-q", who, table], check=False).stdout.strip() for who in (
        b.domain, f"[{mta.ip}]", "[IPv6:2001:db8::1]", mta.domain, f"x{b.domain}",
    )]  # fmt: skip
    assert asked == ["encrypt", "encrypt", "encrypt", "", ""]
