"""The milter's checks of a message's origin, with real signatures and keys, and a DNS stub."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from chatmail_milter.address import Peer
from chatmail_milter.origin.canonical import BodyHash, SignedHeader
from chatmail_milter.origin.checks import OriginChecks
from chatmail_milter.origin.resolver import MilterResolver
from chatmail_milter.origin.verifier import verify
from chatmail_milter.rules.dkim import DkimFacts, SignatureOutcome, undecided
from chatmail_milter.rules.inbound import Origin
from chatmail_milter.rules.signature import parse
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.missing_keys import MissingKeys
from tests import stores
from tests.dkim_signer import FIELDS, PKCS1, ed25519_record, rsa_record, sign
from tests.milter_client import fields
from tests.stub_resolver import HANG_UP, SERVFAIL, StubResolver, running, txt

HOUR = 3600
DOMAIN = "b.example"
MESSAGE = (
    b"From: Bob <bob@b.example>\r\nTo: alice@a.example\r\nSubject:  two  blanks\r\n"
    b"Date: Sat, 28 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@b.example>\r\nX-None:\r\n"
    b"X-Tab:\tfolded\r\n\t value\r\n"
    b"\r\nBody  with \t blanks \r\n\r\n.\r\n\r\n\r\n"
)
GOOD = txt(rsa_record())


class Harness:
    """Checks with a resolver, a store and a clock. `clock` is in seconds from now."""

    def __init__(self, stub: StubResolver, directory: Path) -> None:
        self.stub = stub
        self.clock = 0.0
        engine = open_store(stores.made(directory / "store"))
        self.checks = OriginChecks(
            MilterResolver(stub.path), lambda: MissingKeys(engine), 4 * HOUR, lambda: time.time() + self.clock
        )

    def key(self, *records: str, selector: str = "s1") -> None:
        self.stub.records[f"{selector}._domainkey.{DOMAIN}.", "TXT"] = records

    def outcomes(self, message: bytes) -> list[SignatureOutcome]:
        """Of the signatures, topmost first, that were verified."""
        header, _, body = message.partition(b"\r\n\r\n")
        given = [(name.decode(), value) for name, value in fields(header, as_they_are=True)]
        facts = DkimFacts("a.example")
        for name, value in given:
            facts.see(name.lower().encode(), value)
        digests = {}
        for form in ("simple", "relaxed"):
            body_hash = BodyHash(form)
            body_hash.feed(body)
            digests[form] = body_hash.digest()
        return list(self.checks.verify(undecided(facts, DOMAIN), given, digests).values())


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with running(tmp_path / "dns", {(f"s1._domainkey.{DOMAIN}.", "TXT"): [GOOD]}) as stub:
        yield Harness(stub, tmp_path)


@pytest.mark.parametrize("form", ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"])
@pytest.mark.parametrize("names", [FIELDS, ("from", "date", "subject", "x-none", "x-tab", "cc", "cc")])
def test_valid_in_every_form(harness: Harness, form: str, names: tuple[str, ...]) -> None:
    signed = sign(MESSAGE, DOMAIN, form=form, fields=names)
    assert harness.outcomes(signed) == [SignatureOutcome.PASS]
    for old, new in ((b"two  blanks", b"too  blanks"), (b"Body", b"Bodi"), (b"Bob <", b"Rob <")):
        assert harness.outcomes(signed.replace(old, new)) == [SignatureOutcome.INVALID], new


def test_a_field_that_was_signed_as_missing_may_not_be_added(harness: Harness) -> None:
    signed = sign(MESSAGE, DOMAIN, fields=("from", "date", "cc", "subject", "subject"))
    assert harness.outcomes(signed) == [SignatureOutcome.PASS]
    assert harness.outcomes(b"Cc: eve@c.example\r\n" + signed) == [SignatureOutcome.INVALID]
    assert harness.outcomes(b"Subject: another\r\n" + signed) == [SignatureOutcome.INVALID]
    assert harness.outcomes(b"X-Other: x\r\n" + signed) == [SignatureOutcome.PASS]


def test_of_several_fields_the_last_is_signed_first(harness: Harness) -> None:
    twice = b"X-List: one\r\n" + MESSAGE.replace(b"To:", b"X-List: two\r\nTo:")
    assert harness.outcomes(sign(twice, DOMAIN, fields=("from", "date", "x-list"))) == [SignatureOutcome.PASS]
    signed = sign(twice, DOMAIN, fields=("from", "date", "x-list", "x-list"))
    assert harness.outcomes(signed) == [SignatureOutcome.PASS]
    assert harness.outcomes(signed.replace(b"X-List: one", b"X-List: 1")) == [SignatureOutcome.INVALID]


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (txt(rsa_record(PKCS1)), SignatureOutcome.PASS),
        (txt(b"v=DKIM1; k=rsa; " + rsa_record()), SignatureOutcome.PASS),
        (txt(b"v=DKIM1; k=rsa; n=note; " + rsa_record(PKCS1)), SignatureOutcome.PASS),
        (txt(b"v=DKIM1; h=sha1:sha256; s=email; t=y; " + rsa_record()), SignatureOutcome.PASS),
        (txt(rsa_record(number=2)), SignatureOutcome.INVALID),
        # RFC 6376, 3.6.1: revoked, or for something else.
        ('"v=DKIM1; p="', SignatureOutcome.KEY_UNUSABLE),
        (txt(b"v=DKIM1; h=sha1; " + rsa_record()), SignatureOutcome.KEY_UNUSABLE),
        (txt(b"v=DKIM1; s=tlsrpt; " + rsa_record()), SignatureOutcome.KEY_UNUSABLE),
        (txt(b"v=DKIM2; " + rsa_record()), SignatureOutcome.KEY_UNUSABLE),
        # The key is new in each process, and those of `pytest -n` compare the names of tests.
        pytest.param(txt(ed25519_record()), SignatureOutcome.KEY_UNUSABLE, id="ed25519"),
        ('"v=spf1 -all"', SignatureOutcome.KEY_UNUSABLE),
        ('"p=AAAA"', SignatureOutcome.KEY_UNUSABLE),
        ('"p=MIIBIjAN"', SignatureOutcome.KEY_UNUSABLE),
        ('"k=rsa; p=!!"', SignatureOutcome.KEY_UNUSABLE),
        ('"k=ed25519; p=AAAA"', SignatureOutcome.KEY_UNUSABLE),
        ('"k=dsa; p=AAAA"', SignatureOutcome.KEY_UNUSABLE),
        (txt(b"p=" + b"A" * 30_000), SignatureOutcome.KEY_UNUSABLE),
    ],
)
def test_key_records(harness: Harness, record: str, outcome: SignatureOutcome) -> None:
    harness.key(record)
    assert harness.outcomes(sign(MESSAGE, DOMAIN)) == [outcome]


def test_ed25519(harness: Harness) -> None:
    harness.key(txt(ed25519_record()))
    signed = sign(MESSAGE, DOMAIN, algorithm="ed25519-sha256")
    assert harness.outcomes(signed) == [SignatureOutcome.PASS]
    assert harness.outcomes(signed.replace(b"Bob <", b"Rob <")) == [SignatureOutcome.INVALID]
    harness.key(GOOD)
    assert harness.outcomes(signed) == [SignatureOutcome.KEY_UNUSABLE]


@pytest.mark.parametrize(
    ("bits", "outcome"),
    [(1024, SignatureOutcome.PASS), (4096, SignatureOutcome.PASS), (768, SignatureOutcome.KEY_UNUSABLE)],
)
def test_sizes_of_keys(
    harness: Harness, bits: int, outcome: SignatureOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bits < 1024:
        # Nothing makes such keys any more; what matters is that 768 bits are fewer than is allowed.
        monkeypatch.setattr("chatmail_milter.origin.verifier.KEY_BITS", range(bits + 257, 8193))
        bits = 1024
    harness.key(txt(rsa_record(bits=bits)))
    assert harness.outcomes(sign(MESSAGE, DOMAIN, bits=bits)) == [outcome]


def test_a_key_that_is_not_for_domains_below(harness: Harness) -> None:
    below = sign(MESSAGE, DOMAIN, identity="bob@sub.b.example")
    assert harness.outcomes(below) == [SignatureOutcome.PASS]
    harness.key(txt(b"t=s; " + rsa_record()))
    assert harness.outcomes(below) == [SignatureOutcome.KEY_UNUSABLE]
    assert harness.outcomes(sign(MESSAGE, DOMAIN)) == [SignatureOutcome.PASS]


def test_two_records_are_final(harness: Harness) -> None:
    harness.key(GOOD, txt(rsa_record(number=2)))
    assert harness.outcomes(sign(MESSAGE, DOMAIN)) == [SignatureOutcome.KEY_UNUSABLE]


def test_a_record_that_is_missing_may_come_for_hours(harness: Harness) -> None:
    del harness.stub.records[f"s1._domainkey.{DOMAIN}.", "TXT"]
    signed = sign(MESSAGE, DOMAIN)
    for hours, outcome in (
        (0, "KEY_AWAITED"),
        (3.9, "KEY_AWAITED"),
        (4.1, "KEY_MISSING"),
        (9, "KEY_MISSING"),
    ):
        harness.clock = hours * HOUR
        assert harness.outcomes(signed) == [SignatureOutcome[outcome]], hours
    assert harness.outcomes(sign(MESSAGE, DOMAIN, selector="new")) == [SignatureOutcome.KEY_AWAITED]
    harness.key(GOOD)
    assert harness.outcomes(signed) == [SignatureOutcome.PASS]


@pytest.mark.parametrize("trouble", [SERVFAIL, HANG_UP])
def test_trouble_with_dns_is_no_missing_key(harness: Harness, trouble: str) -> None:
    harness.stub.records[f"s1._domainkey.{DOMAIN}.", "TXT"] = trouble
    assert harness.outcomes(sign(MESSAGE, DOMAIN)) == [SignatureOutcome.DNS_FAILED]


def test_a_signature_that_has_expired() -> None:
    signed = sign(MESSAGE, DOMAIN)
    header = signed.partition(b"\r\n\r\n")[0]
    given = [(name.decode(), value) for name, value in fields(header, as_they_are=True)]
    found = parse(given[0][1])
    assert found is not None
    octets = list(SignedHeader(given).signed_octets(found))
    # A day for clocks that are wrong.
    for seconds, outcome in ((86_399, SignatureOutcome.PASS), (86_401, SignatureOutcome.INVALID)):
        assert verify(replace(found, expires=1000), octets, [rsa_record()], 1000 + seconds) is outcome


def test_the_author_s_signature_is_found_below_any_number_of_others(harness: Harness) -> None:
    signed = sign(MESSAGE, DOMAIN)
    for number in range(60):
        signed = sign(signed, f"list{number}.example")
    assert harness.outcomes(signed) == [SignatureOutcome.PASS]
    assert harness.stub.asked == [(f"s1._domainkey.{DOMAIN}.", "TXT")]


def test_a_forwarder_s_signature_that_broke_is_no_harm(harness: Harness) -> None:
    signed = sign(MESSAGE, DOMAIN)
    broken = sign(MESSAGE.replace(b"Body", b"Bodi"), DOMAIN)
    top = broken[: -len(MESSAGE)]
    assert harness.outcomes(top + signed) == [SignatureOutcome.INVALID, SignatureOutcome.PASS]


def test_a_body_that_does_not_fit_costs_no_question(harness: Harness) -> None:
    assert harness.outcomes(sign(MESSAGE, DOMAIN).replace(b"Body", b"Bodi")) == [SignatureOutcome.INVALID]
    assert harness.stub.asked == []


@pytest.mark.parametrize("body_hash", [b"A", b"AAAAA", b"AA=", b"AAAA=="])
def test_a_body_hash_that_is_none_is_a_hash_of_another_body(harness: Harness, body_hash: bytes) -> None:
    signed = sign(MESSAGE, DOMAIN)
    odd = re.sub(rb"bh=[^;]+", b"bh=" + body_hash, signed[: -len(MESSAGE)])
    assert harness.outcomes(odd + signed) == [SignatureOutcome.INVALID, SignatureOutcome.PASS]


def test_few_questions_whatever_is_written(harness: Harness) -> None:
    message = MESSAGE
    for number in range(30):
        message = sign(message, DOMAIN, selector=f"k{number}", number=number % 2)
    assert SignatureOutcome.PASS not in harness.outcomes(message)
    assert len(harness.stub.asked) == 8
    message = MESSAGE
    for _ in range(30):
        message = sign(message.replace(b"Bob", b"Bobb"), DOMAIN)
    harness.stub.asked.clear()
    harness.outcomes(message)
    assert len(harness.stub.asked) == 1


def test_a_store_that_is_away_is_temporary(tmp_path: Path) -> None:
    with running(tmp_path / "dns", {}) as stub:
        harness = Harness(stub, tmp_path)

        def away() -> MissingKeys:
            return MissingKeys(open_store(f"sqlite:///{tmp_path}/no/where"))

        harness.checks = OriginChecks(MilterResolver(stub.path), away, 4 * HOUR)
        assert harness.outcomes(sign(MESSAGE, DOMAIN)) == [SignatureOutcome.KEY_AWAITED]


ORIGIN = {
    ("own.example.", "A"): ["192.0.2.7", "192.0.2.8"],
    ("own.example.", "AAAA"): ["2001:db8::7"],
    ("mx.example.", "A"): ["192.0.2.200"],
    ("mx.example.", "MX"): ["10 mx1.example.", "20 mx2.example."],
    ("mx1.example.", "A"): ["192.0.2.9"],
    ("mx2.example.", "A"): ["CNAME real.example."],
    ("real.example.", "A"): ["192.0.2.7"],
    ("null.example.", "MX"): ["0 ."],
    ("text.example.", "TXT"): ['"v=spf1 ip4:192.0.2.7 -all"'],
    ("broken.example.", "A"): SERVFAIL,
    ("broken.example.", "MX"): SERVFAIL,
    ("half.example.", "A"): SERVFAIL,
    ("half.example.", "MX"): ["10 own.example."],
    ("half2.example.", "MX"): ["10 broken.example.", "20 own.example."],
    ("half3.example.", "MX"): ["10 broken.example.", "20 mx1.example."],
    ("half4.example.", "MX"): SERVFAIL,
    ("many.example.", "MX"): [*(f"{n} n{n}.example." for n in range(100)), "200 own.example."],
}


@pytest.mark.parametrize(
    ("domain", "peer", "origin"),
    [
        ("own.example", "192.0.2.7", Origin.PROVEN),
        ("own.example", "192.0.2.8", Origin.PROVEN),
        ("own.example", "::ffff:192.0.2.8", Origin.PROVEN),
        ("own.example", "2001:db8::7", Origin.PROVEN),
        ("own.example", "2001:db8::8", Origin.UNPROVEN),
        ("own.example", "192.0.2.9", Origin.UNPROVEN),
        ("own.example", None, Origin.UNPROVEN),
        ("mx.example", "192.0.2.9", Origin.PROVEN),
        ("mx.example", "192.0.2.7", Origin.PROVEN),
        ("mx.example", "192.0.2.8", Origin.UNPROVEN),
        # The From domain's own records, not those of a domain above or below it.
        ("sub.own.example", "192.0.2.7", Origin.UNPROVEN),
        ("example", "192.0.2.7", Origin.UNPROVEN),
        ("null.example", "192.0.2.7", Origin.UNPROVEN),
        ("text.example", "192.0.2.7", Origin.UNPROVEN),
        ("no.example", "192.0.2.7", Origin.UNPROVEN),
        ("a..b", "192.0.2.7", Origin.UNPROVEN),
        ("broken.example", "192.0.2.7", Origin.UNKNOWN),
        ("half.example", "192.0.2.7", Origin.PROVEN),
        ("half.example", "192.0.2.9", Origin.UNKNOWN),
        ("half2.example", "192.0.2.7", Origin.PROVEN),
        ("half3.example", "192.0.2.7", Origin.UNKNOWN),
        ("half4.example", "192.0.2.7", Origin.UNKNOWN),
        ("many.example", "192.0.2.7", Origin.UNPROVEN),
    ],
)
def test_whose_address_it_is(tmp_path: Path, domain: str, peer: str | None, origin: Origin) -> None:
    address: Peer = None if peer is None else ip_address(peer)
    with running(tmp_path / "dns", ORIGIN) as stub:
        assert Harness(stub, tmp_path).checks.origin(domain, address) is origin
        assert len(stub.asked) <= 18
