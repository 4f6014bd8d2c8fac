"""A peer that accepts a message for all recipients or for none, and names the one that it refuses.

So does filtermail: it gives the whole message to its Postfix, and answers with that one's first refusal.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine

from tests.blackbox.relay.deployed_receivers import Filtermail
from tests.blackbox.relay.installed_relay import (
    MESSAGE,
    InstalledRelay,
    ScriptedPeer,
    SeenPost,
    accept_all,
    answer,
    deliver,
    https_only,
)
from tests.blackbox.relay.test_recipient_policy import ask, connected

HTTPS = (250, "2.0.0 OK")
SMTP = (250, "2.0.0 Ok: queued as SINK")
ENCRYPTED = MESSAGE.split(b"\r\n\r\n")[0] + b"\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledRelay]:
    relay = InstalledRelay(tmp_path_factory.mktemp("several"))
    key = relay.directory / "store.key"
    key.write_text("6b" * 32)
    relay.environment["CHATMAIL_STORE_KEY"] = str(key)
    relay.peer()
    relay.start()
    yield relay
    relay.close()


def posts(peer: ScriptedPeer) -> list[list[str]]:
    return [[one.partition("@")[0] for one in seen.values("X-Mail-To")] for seen in peer.seen]


def test_at_filtermail_who_is_known_gets_it_once_and_is_not_remembered_as_unknown(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    ann, bob, cy = (f"{name}@{domain}" for name in ("ann", "bob", "cy"))
    peer.script = filtermail = Filtermail({ann, cy})
    told = deliver(relay, ann, bob, cy, content=ENCRYPTED)
    assert [code for code, _ in told] == [250, 550, 250]
    assert told[1][1].startswith(f"5.1.1 <{bob}>: Recipient address rejected: User unknown")
    assert [one for one, _ in filtermail.delivered] == [ann, cy]
    assert relay.sink.taken == []
    with connected(relay) as connection:
        assert [ask(connection, one)[:9] for one in (ann, bob, cy)] == ["DUNNO", "550 5.1.1", "DUNNO"]


@pytest.mark.parametrize(
    "line",
    [
        "550 5.1.1 User unknown",
        "552 5.2.2 Mailbox full",
        "554 5.7.1 <{bob}>: Relay access denied",
        "450 4.2.0 Greylisted",
        "452 4.2.2 Mailbox full",
        "450 <{bob}>: Recipient address rejected",
    ],
)
def test_what_is_said_of_one_is_not_said_of_others(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str, line: str
) -> None:
    ann, bob, cy = (f"{name}@{domain}" for name in ("ann", "bob", "cy"))
    refused = answer(400, line.format(bob=bob).encode())
    peer.script = lambda seen: (refused if bob in seen.values("X-Mail-To") else accept_all)(seen)
    told = deliver(relay, ann, bob, cy)
    assert (told[0], told[1][0], told[2]) == (HTTPS, int(line[:3]), HTTPS)
    assert posts(peer) == [["ann", "bob", "cy"], ["ann"], ["bob"], ["cy"]]


@pytest.mark.parametrize(
    "line",
    [
        b"554 5.7.1 No valid DKIM signature found",
        b"523 Encryption Needed: Invalid Unencrypted Mail",
        b"550 5.1.8 Sender address rejected: Domain not found",
        b"451 4.3.0 Error: queue file write error",
        b"450 4.7.1 Error: Too much mail from u@_here.test",
    ],
    ids=bytes.decode,
)
def test_what_is_said_of_the_message_is_said_of_all(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str, line: bytes
) -> None:
    peer.script = answer(400, line)
    told = deliver(relay, f"ann@{domain}", f"bob@{domain}")
    assert [code for code, _ in told] == [int(line[:3])] * 2
    assert posts(peer) == [["ann", "bob"]]


def test_where_only_https_is_left_each_has_its_own_outcome(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    ann, bob = f"ann@{domain}", f"bob@{domain}"
    unknown = answer(400, f"550 5.1.1 <{bob}>: User unknown".encode())
    peer.script = lambda seen: (unknown if bob in seen.values("X-Mail-To") else accept_all)(seen)
    assert https_only(relay, ann, bob) == (250, b"2.0.0 OK")
    assert [recipients for _, recipients, _ in relay.sink.taken] == [[bob]]
    assert posts(peer) == [["ann", "bob"], ["ann"], ["bob"]]


def test_who_has_it_does_not_get_it_again_because_the_store_fails_for_the_next(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    relay.ctl("route", "set", domain, "--one-per-recipient")
    store = create_engine(f"sqlite:///{relay.directory}/store.sqlite")

    def rename(before: str, after: str) -> None:
        with store.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")

    def fails_after_this(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        rename("endpoint_hosts", "elsewhere")
        return accept_all(seen)

    peer.script = fails_after_this
    try:
        assert deliver(relay, f"ann@{domain}", f"bob@{domain}") == [HTTPS, SMTP]
    finally:
        rename("elsewhere", "endpoint_hosts")
        store.dispose()
    assert posts(peer) == [["ann"]]
    assert [recipients for _, recipients, _ in relay.sink.taken] == [[f"bob@{domain}"]]


class TestWhereOnlyHttpsIsLeft:
    """SMTP can't be reached, so there is no reason to leave a host unasked."""

    def test_a_size_limit_is_asked_about_again(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        peer.script = answer(413, b"<html>")
        assert deliver(relay, f"ann@{domain}") == [SMTP]
        peer.script = accept_all
        assert deliver(relay, f"ann@{domain}") == [SMTP]
        assert https_only(relay, f"ann@{domain}") == (250, b"2.0.0 OK")

    def test_so_it_is_by_a_route(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.ctl("route", "set", domain, "--https", "only")
        peer.script = answer(413, b"<html>")
        assert deliver(relay, f"ann@{domain}")[0][0] == 451
        peer.script = accept_all
        assert deliver(relay, f"ann@{domain}") == [HTTPS]
