"""Records that a relay doesn't need, but that must fit where they are published: TLSA, MTA-STS, SRV."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dns.rrset import RRset

from chatmail_milter.doctor import Finding, FindingState, optional_records
from tests.blackbox.certificate import make_certificate
from tests.unit.doctor.found import states

TLSA, STS = "_25._tcp.mx.a.test TLSA", "_mta-sts.a.test TXT"
POLICY = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 604800\n"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> x509.Certificate:
    file = tmp_path_factory.mktemp("tls") / "pem"
    make_certificate(file, ("mx.a.test",))
    return x509.load_pem_x509_certificate(file.read_bytes())


def check(
    published: dict[str, set[str] | None], shown: x509.Certificate | None = None, policy: str | None = POLICY
) -> list[Finding]:
    def look(wanted: RRset) -> set[str] | None:
        return published.get(f"{wanted.name.to_text(omit_final_dot=True)} {wanted.rdtype.name}", set())

    def certificate(name: str) -> bytes:
        assert name == "mx.a.test"
        if shown is None:
            raise ConnectionRefusedError("refused")
        return shown.public_bytes(Encoding.DER)

    def fetch(domain: str) -> str:
        assert domain == "a.test"
        if policy is None:
            raise OSError("404")
        return policy

    return list(optional_records.check("a.test", "mx.a.test", look, certificate, fetch))


def test_where_none_is_published_none_is_needed() -> None:
    assert states(check({STS: {"site-verification=1"}})) == {"TLSA, MTA-STS, SRV": FindingState.GOOD}


def test_a_domain_without_a_name_has_none() -> None:
    assert list(optional_records.check(f"{'x' * 64}.test", "a.test")) == []


def test_a_tlsa_record_is_of_the_certificate_or_of_its_key(shown: x509.Certificate) -> None:
    key = shown.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    whole = shown.public_bytes(Encoding.DER)
    right = [
        f"3 1 1 {hashlib.sha256(key).hexdigest()}", f"3 1 2 {hashlib.sha512(key).hexdigest()}",
        f"1 0 1 {hashlib.sha256(whole).hexdigest()}", f"3 0 0 {whole.hex()}",
    ]  # fmt: skip
    other = f"3 1 1 {'ab' * 32}"
    for text in right:
        assert states(check({TLSA: {text}}, shown)) == {TLSA: FindingState.GOOD}
        # As while a key is replaced.
        assert states(check({TLSA: {text, other}}, shown)) == {TLSA: FindingState.GOOD}
    (bad,) = check({TLSA: {other}}, shown)
    assert bad.state is FindingState.BAD
    assert bad.mend == f"publish: _25._tcp.mx.a.test. TLSA {right[0]}"


def test_what_can_not_be_compared_is_unknown(shown: x509.Certificate) -> None:
    assert states(check({TLSA: {f"2 1 1 {'ab' * 32}"}}, shown)) == {TLSA: FindingState.UNKNOWN}
    assert states(check({TLSA: {f"3 1 1 {'ab' * 32}"}})) == {TLSA: FindingState.UNKNOWN}
    # Without an answer no further question is asked.
    assert states(check({TLSA: None, STS: None})) == {TLSA: FindingState.UNKNOWN}


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (POLICY, FindingState.GOOD),
        (POLICY.replace("mx.a.test", "*.a.test").replace("\n", "\r\n"), FindingState.GOOD),
        (POLICY.replace("mx.a.test", "mx.old.test"), FindingState.BAD),
        ("<html>", FindingState.BAD),
        (None, FindingState.SOON),
    ],
)
def test_an_mta_sts_policy_has_the_mx(policy: str | None, state: FindingState) -> None:
    assert states(check({STS: {"v=STSv1; id=1"}}, policy=policy)) == {STS: state}


@pytest.mark.parametrize(
    ("name", "text", "state"),
    [
        ("_imaps", "0 1 993 mx.a.test.", FindingState.GOOD),
        ("_imaps", "0 1 993 a.test.", FindingState.GOOD),
        ("_imaps", "0 1 143 a.test.", FindingState.BAD),
        ("_submissions", "0 1 465 other.test.", FindingState.BAD),
        ("_imap", "0 0 0 .", FindingState.GOOD),
    ],
)
def test_an_srv_record_leads_to_this_relay(name: str, text: str, state: FindingState) -> None:
    what = f"{name}._tcp.a.test SRV"
    assert states(check({what: {text}})) == {what: state}
    if state is FindingState.BAD:
        port = {"_imaps": 993, "_submissions": 465}[name]
        assert check({what: {text}})[0].mend == f"publish: {what.split()[0]}. SRV 0 1 {port} mx.a.test."
