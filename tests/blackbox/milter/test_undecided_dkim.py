"""The milter verifies the signatures that OpenDKIM left undecided, and judges mail without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import stub_resolver
from tests.blackbox.milter.installed_milter import (
    CLEAR,
    CLEARTEXT,
    GOOD,
    InstalledMilter,
    running,
    written_by,
)
from tests.dkim_signer import PKCS1, rsa_record, sign
from tests.milter_client import MilterAnswer, MilterClient, fields
from tests.stub_resolver import SERVFAIL, StubResolver, txt

BOB = "bob@b.example"
MESSAGE = written_by(BOB)
PEER = "192.0.2.7"
KEY = ("s1._domainkey.b.example.", "TXT")

NONE = "554 5.7.1 No DKIM signature found"
INVALID = "554 5.7.1 No valid DKIM signature found"
NO_KEY = "451 4.7.5 DKIM key not found, try again later"
NO_DNS = "451 4.7.5 DKIM key lookup failed, try again later"
NO_ORIGIN = "451 4.7.5 Sender's domain lookup failed, try again later"


@pytest.fixture
def dns(milter: InstalledMilter) -> Iterator[StubResolver]:
    """The resolver that the milter asks, with a key for b.example."""
    path = Path(milter.path).parent / "dns"
    with stub_resolver.running(path, {KEY: [txt(rsa_record())]}) as stub:
        yield stub
    path.unlink()


def take(milter: InstalledMilter, message: bytes, *said: str, road: str = "smtp", peer: str = PEER) -> str:
    """The reply to a message to which OpenDKIM added `said`; `continue` if it is taken."""
    results = [f"mx.a.example; {one}" for one in said]
    return milter.take(message, BOB, *results, road=road, peer=peer).reply


def named(message: bytes, result: str) -> str:
    """What OpenDKIM says of the topmost signature."""
    text = message.partition(b"b=")[0].decode()
    value = message.replace(b"\r\n", b"").replace(b" ", b"").partition(b";b=")[2][:8].decode()
    domain = text.partition("d=")[2].partition(";")[0].strip()
    return f"dkim={result} header.d={domain} header.i=@{domain} header.s=s1 header.b={value}"


@pytest.mark.usefixtures("dns")
class TestSignaturesThatOpenDkimLeavesOpen:
    @pytest.mark.parametrize("road", ["smtp", "mxdeliv"])
    def test_below_many_others(self, milter: InstalledMilter, road: str) -> None:
        message = sign(MESSAGE, "b.example")
        for number in range(5):
            message = sign(message, f"list{number}.example")
        assert take(milter, message, "dkim=neutral header.d=list0.example", road=road) == "continue"
        assert take(milter, message.replace(b"Version: 1", b"version: 1"), road=road)[:3] in ("523", "554")

    def test_a_key_in_rsa_public_key_form(self, milter: InstalledMilter, dns: StubResolver) -> None:
        message = sign(MESSAGE, "b.example")
        dns.records[KEY] = [txt(rsa_record(PKCS1))]
        assert take(milter, message, named(message, "permerror")) == "continue"

    @pytest.mark.parametrize("form", ["simple/simple", "relaxed/relaxed"])
    def test_every_octet_of_the_header_is_as_it_came(self, milter: InstalledMilter, form: str) -> None:
        odd = MESSAGE.replace(b"Subject: [...]", b"Subject:   [...]  \r\nX-Folded:\r\n\t a  b")
        message = sign(odd, "b.example", form=form, fields=("from", "date", "subject", "x-folded"))
        assert take(milter, message) == "continue"
        assert take(milter, message.replace(b"X-Folded:\r\n\t a  b", b"X-Folded: c")) == INVALID

    def test_a_message_of_30_megabytes(self, milter: InstalledMilter) -> None:
        end = MESSAGE.index(b"-----END PGP MESSAGE-----")
        assert end > 0
        big = MESSAGE + b"\r\n" * 15_000_000
        assert take(milter, sign(big, "b.example", form="relaxed/relaxed")) == "continue"

    @pytest.mark.parametrize(
        ("algorithm", "length", "fields", "reason"),
        [
            ("rsa-sha1", False, ("from", "date"), "dkim-algorithm"),
            ("rsa-sha256", True, ("from", "date"), "dkim-length"),
            ("rsa-sha256", False, ("from", "subject", "to"), "dkim-fields"),
        ],
    )
    def test_what_never_counts(
        self, milter: InstalledMilter, algorithm: str, length: bool, fields: tuple[str, ...], reason: str
    ) -> None:
        message = sign(MESSAGE, "b.example", algorithm=algorithm, length=length, fields=fields)
        assert take(milter, message, named(message, "pass")) == INVALID
        assert f"verdict=reject reason={reason} " in milter.log
        # A good one beside it counts all the same.
        assert take(milter, sign(message, "b.example"), named(message, "pass")) == "continue"

    def test_a_pass_that_is_of_another_signature(self, milter: InstalledMilter) -> None:
        good = sign(MESSAGE, "b.example", length=True)
        said = named(good, "pass")
        value = said.rpartition("=")[2].encode()
        forged = (
            b"DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s1; h=from:date; bh=AAAA; b="
            + value
            + b"\r\n"
        )
        assert take(milter, forged + good, said) == INVALID

    def test_a_missing_key_may_come(self, milter: InstalledMilter, dns: StubResolver) -> None:
        message = sign(MESSAGE, "b.example")
        del dns.records[KEY]
        assert take(milter, message, named(message, 'fail reason="key not found in DNS"')) == NO_KEY
        dns.records[KEY] = [txt(rsa_record())]
        assert take(milter, message, named(message, "fail")) == "continue"

    def test_two_keys_are_final(self, milter: InstalledMilter, dns: StubResolver) -> None:
        message = sign(MESSAGE, "b.example")
        dns.records[KEY] = [txt(rsa_record()), txt(rsa_record(number=2))]
        assert take(milter, message, named(message, "temperror")) == INVALID
        assert "reason=dkim-key-unusable " in milter.log

    def test_trouble_with_dns_is_temporary(self, milter: InstalledMilter, dns: StubResolver) -> None:
        dns.records[KEY] = SERVFAIL
        assert take(milter, sign(MESSAGE, "b.example")) == NO_DNS

    def test_encryption_comes_before_dns(self, milter: InstalledMilter, dns: StubResolver) -> None:
        assert take(milter, sign(CLEAR, "b.example")) == CLEARTEXT
        assert dns.asked == []


def test_a_missing_key_is_final_after_the_configured_time() -> None:
    with running(inbound='missing_key = "0s"') as milter:
        with stub_resolver.running(Path(milter.path).parent / "dns", {}):
            assert take(milter, sign(MESSAGE, "b.example")) == INVALID
        assert "reason=dkim-key-missing " in milter.log


def test_a_resolver_that_is_away_is_temporary(milter: InstalledMilter) -> None:
    assert take(milter, sign(MESSAGE, "b.example")) == NO_DNS
    assert take(milter, MESSAGE) == NO_ORIGIN


@pytest.mark.usefixtures("dns")
class TestUnsigned:
    @pytest.fixture(autouse=True)
    def records(self, dns: StubResolver) -> None:
        dns.records |= {
            ("b.example.", "MX"): ["10 mx.b.example."],
            ("mx.b.example.", "A"): [PEER],
            ("a.example.", "A"): [PEER],
        }

    @pytest.mark.parametrize("road", ["smtp", "mxdeliv"])
    @pytest.mark.parametrize("said", [(), ("dkim=none",)])
    def test_from_the_domain_s_own_host(
        self, milter: InstalledMilter, road: str, said: tuple[str, ...]
    ) -> None:
        assert take(milter, MESSAGE, *said, road=road) == "continue"
        assert take(milter, MESSAGE, *said, road=road, peer="192.0.2.8") == NONE

    def test_that_is_not_encrypted(self, milter: InstalledMilter) -> None:
        assert take(milter, CLEAR.replace(b"alice@a.example", BOB.encode())) == CLEARTEXT

    def test_with_a_signature_that_fails(self, milter: InstalledMilter) -> None:
        signed = sign(MESSAGE, "b.example").replace(b"Subject: [...]", b"Subject: [..]")
        assert take(milter, signed) == INVALID
        assert take(milter, sign(MESSAGE, "c.example")) == INVALID
        assert take(milter, b"DKIM-Signature: none\r\n" + MESSAGE) == INVALID
        assert take(milter, b"DKIM-Signature : none\r\n" + MESSAGE) == INVALID

    def test_in_the_name_of_our_own_users(self, milter: InstalledMilter, dns: StubResolver) -> None:
        assert take(milter, GOOD) == NONE
        assert dns.asked == []

    def test_trouble_with_dns_is_temporary(self, milter: InstalledMilter, dns: StubResolver) -> None:
        dns.records["mx.b.example.", "A"] = SERVFAIL
        assert take(milter, MESSAGE) == NO_ORIGIN

    def test_an_envelope_sender_that_is_not_the_author_becomes_null(self, milter: InstalledMilter) -> None:
        assert milter.take(MESSAGE, "list@c.example") == MilterAnswer("continue", ("from=<>",))


def test_unsigned_mail_where_the_operator_refuses_it() -> None:
    records = {("b.example.", "A"): [PEER], KEY: [txt(rsa_record())]}
    with (
        running(inbound='unsigned = "refuse"') as milter,
        stub_resolver.running(Path(milter.path).parent / "dns", records) as dns,
    ):
        assert take(milter, MESSAGE) == NONE
        assert dns.asked == []
        assert take(milter, sign(MESSAGE, "b.example")) == "continue"


def test_a_slow_answer_holds_up_nobody_else(milter: InstalledMilter, dns: StubResolver) -> None:
    """One session waits for DNS while another, on the same process, is answered."""
    header, _, body = sign(MESSAGE, "b.example").partition(b"\r\n\r\n")
    with dns.holding() as asked, MilterClient(milter.path) as slow:
        slow.connect("smtp", PEER)
        slow.envelope(BOB, ["alice@a.example"])
        slow.header(fields(header))
        slow.body(body)
        slow.send(b"E")
        assert asked.wait(120)
        # More than there are processes, so one of them is the one that waits.
        for _ in range(4):
            assert milter.submit(GOOD).reply == "continue"
