"""Each defect of a certificate fails the HTTPS attempt and is reported in the words of TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.blackbox.certificate import make_certificate
from tests.blackbox.relay.installed_relay import InstalledRelay, deliver
from tests.blackbox.relay.raw_peer import ADDRESS, CLOSING, HTTPS, SMTP, RawPeer, then_close, tls

# By the name that it is for: whether it has expired.
CERTIFICATES = {"good.test": False, "other.test": False, "expired.test": True}
# Whose certificate a domain shows, and what is said of it.
PEERS = {
    "good.test": ("good.test", ""),
    "expired.test": ("expired.test", "certificate has expired"),
    "wrong.test": ("other.test", "Hostname mismatch"),
    "sub.good.test": ("good.test", "Hostname mismatch"),
}


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledRelay]:
    """A relay that trusts whoever signed any of these certificates."""
    directory = tmp_path_factory.mktemp("certificates")
    relay = InstalledRelay(directory)
    for name, expired in CERTIFICATES.items():
        make_certificate(directory / f"{name}.pem", (name,), expired=expired)
    for domain in PEERS:
        relay.dns.zone[domain, "A"] = [ADDRESS]
    bundle = directory / "bundle.pem"
    bundle.write_bytes(b"".join((directory / f"{name}.pem").read_bytes() for name in CERTIFICATES))
    relay.environment["SSL_CERT_FILE"] = str(bundle)
    relay.start()
    yield relay
    relay.close()


def showing(relay: InstalledRelay, name: str) -> RawPeer:
    """A peer that takes everything, with the certificate for `name`."""
    try:
        return RawPeer(ADDRESS, then_close(CLOSING), tls(relay.directory / f"{name}.pem"))
    except PermissionError:
        pytest.skip("peers listen on port 443, which may not be bound here")


@pytest.mark.parametrize("domain", PEERS)
def test_only_one_for_this_very_name_and_day_is_good(trusting: InstalledRelay, domain: str) -> None:
    name, words = PEERS[domain]
    with closing(showing(trusting, name)):
        trusting.prove(domain)
        assert deliver(trusting, f"ann@{domain}") == [SMTP if words else HTTPS]
    row = trusting.peers_row(domain, "https", 1)
    assert row["reasons"] == ({"tls": 1} if words else {})
    if words:
        shown = trusting.shown(domain, lambda peer: peer["errors"])
        assert words in shown["errors"][0]["words"]


def test_a_session_with_one_name_is_no_proof_of_another(trusting: InstalledRelay) -> None:
    """Two domains at one address, one certificate: the second is looked at although the first was good."""
    trusting.ctl("endpoints", "forget", "--all")
    trusting.prove("good.test")
    with closing(showing(trusting, "good.test")) as peer:
        assert deliver(trusting, "ann@good.test") == [HTTPS]
        assert deliver(trusting, "ann@wrong.test") == [SMTP]
        assert deliver(trusting, "ann@good.test") == [HTTPS]
        # Nothing was resumed with the second.
        assert [resumed for resumed in peer.resumed if resumed] == [True]
