"""OpenDKIM's results, forged results in a message, and the verdict on them."""

from __future__ import annotations

import pytest

from chatmail_milter.rules.dkim import (
    DkimFacts,
    DkimResult,
    SignatureOutcome,
    judge,
    parse_results,
    undecided,
)

PASS = (
    b"a.example;\n\tdkim=pass (2048-bit key; unprotected) header.d=b.example header.i=@b.example"
    b' header.a=rsa-sha256 header.s=chatmail header.b="Ab+/cdef"'
)
NAMED = b"header.d=b.example header.s=chatmail header.b=Ab+/cdef"
SIGNATURE = b"v=1; a=rsa-sha256; d=b.example;\n\ts=chatmail; t=1; bh=abc=; h=From:Date;\n\tb=Ab+/cd\n\t efgh"
OTHER = SIGNATURE.replace(b"b.example", b"c.example")
TWIN = SIGNATURE.replace(b"efgh", b"efij")
SHA1, LENGTH = SIGNATURE.replace(b"rsa-sha256", b"rsa-sha1"), SIGNATURE.replace(b"t=1", b"l=1")
FROM_ALONE = SIGNATURE.replace(b"From:Date", b"From")


def facts(*results: bytes, signatures: tuple[bytes, ...] = (SIGNATURE,)) -> DkimFacts:
    found = DkimFacts("A.example")
    for value in results:
        found.see(b"authentication-results", value)
    for value in signatures:
        found.see(b"dkim-signature", value)
    return found


@pytest.mark.parametrize(
    ("value", "authserv_id", "dkim"),
    [
        (PASS, "a.example", [("pass", "b.example")]),
        (b"a.example; none", "a.example", []),
        (b"a.example 1; dkim=none", "a.example", [("none", "")]),
        (b"A.Example; DKIM=Pass Header.D=B.Example", "a.example", [("pass", "b.example")]),
        (
            b"(c (c)) a.example (;); dkim (c) = (c) fail (bad; dkim=pass) header.d = b.example",
            "a.example",
            [("fail", "b.example")],
        ),
        (
            b'a.example; dkim=pass reason="x; dkim=pass header.d=c.example" header.d=b.example',
            "a.example",
            [("pass", "b.example")],
        ),
        (
            b"a.example; spf=pass smtp.mailfrom=b.example; dkim=neutral header.d=b.example;"
            b" dkim=pass header.d=c.example",
            "a.example",
            [("neutral", "b.example"), ("pass", "c.example")],
        ),
        (b"[192.0.2.1]; dkim=none", "[192.0.2.1]", [("none", "")]),
        (b'"a.example"; dkim=none', "a.example", [("none", "")]),
        # A sender who chooses what stands behind header.d= or header.i= can put no word there.
        (b"a.example; dkim=pass header.d=c.example x.b.example", "a.example", []),
        (b"a.example; dkim=pass header.d=c.example header.d=b.example", "a.example", []),
        (b"a.example; dkim=pass header.d=c.example header.i=x header.d=b.example", "a.example", []),
        (b"a.example; dkim", "a.example", []),
        (b"a.example; dkim=", "a.example", []),
        (b"; dkim=pass", "", [("pass", "")]),
        (b"", "", []),
        (b'a.example; dkim=pass ("; header.d=b.example', "a.example", [("pass", "")]),
        (b"\xff\xfe; \x00", "\xff\xfe", []),
    ],
)
def test_reading_authentication_results(value: bytes, authserv_id: str, dkim: list[tuple[str, str]]) -> None:
    said = parse_results(value)
    assert said.authserv_id == authserv_id
    assert tuple((one.result, one.domain) for one in said.dkim) == tuple(dkim)


def test_a_result_names_its_signature() -> None:
    assert parse_results(PASS).dkim == (DkimResult("pass", "b.example", "chatmail", "Ab+/cdef"),)


@pytest.mark.parametrize(
    "value", [b"(" * 100_000, b'"' * 100_000, b";" * 100_000, b"\\" * 100_000, b"dkim=" * 20_000]
)
def test_hostile_results_are_read_all_the_same(value: bytes) -> None:
    assert parse_results(value).dkim == ()


def told(result: str, named: bytes = NAMED) -> bytes:
    """What OpenDKIM says of one signature."""
    return b"a.example; dkim=" + result.encode() + b" " + named


@pytest.mark.parametrize(
    "found",
    [
        facts(PASS),
        facts(told("pass")),
        facts(b"a.example; dkim=fail header.d=c.example; dkim=pass " + NAMED, signatures=(OTHER, SIGNATURE)),
        # However many others are above it.
        facts(told("pass"), signatures=(*[OTHER] * 40, SIGNATURE)),
        facts(told("pass"), signatures=(SHA1.replace(b"Ab+/", b"Ef+/"), SIGNATURE)),
    ],
)
def test_what_opendkim_calls_valid_needs_no_second_look(found: DkimFacts) -> None:
    assert undecided(found, "b.example") == []
    assert judge(found, "b.example", {}).reason == "pass"


@pytest.mark.parametrize(
    "found",
    [
        facts(told("fail")),
        facts(told("neutral")),
        facts(told("permerror")),
        facts(told("temperror")),
        facts(b"a.example; none"),
        facts(),
        facts(b"c.example; dkim=pass " + NAMED),
        # Results that name another signature, or none.
        facts(b"a.example; dkim=pass"),
        facts(b"a.example; dkim=pass header.d=b.example"),
        facts(told("pass", NAMED.replace(b"=b.example", b"=c.example"))),
        facts(told("pass", NAMED.replace(b"=b.example", b"=sub.b.example"))),
        facts(told("pass", NAMED.replace(b"chatmail", b"other"))),
        facts(told("pass", NAMED.replace(b"Ab+/cdef", b"Ab+/cdeX"))),
        facts(told("pass", NAMED.replace(b"Ab+/cdef", b"Ab+/cd"))),
        # Two that it fits, so it may be of the one that doesn't count.
        facts(told("pass"), signatures=(SIGNATURE, TWIN)),
        facts(told("pass"), signatures=(SIGNATURE, SHA1)),
        facts(told("pass"), signatures=(SIGNATURE, LENGTH)),
        facts(b"a.example; dkim=pass " + NAMED + b"; dkim=fail " + NAMED),
        # One that could have written the result.
        facts(told("pass"), signatures=(SIGNATURE, b"v=1; d=c.example; i=x=3B@c.example; b=AA")),
        # What OpenDKIM may have verified of this one, with the same first characters in `b`.
        facts(told("pass"), signatures=(SIGNATURE, SHA1 + b"; q=dns/txt:other")),
    ],
)
def test_all_else_is_looked_at_again(found: DkimFacts) -> None:
    assert found.signatures[0] in undecided(found, "b.example")
    one = found.signatures[0]
    assert judge(found, "b.example", {one: SignatureOutcome.PASS}).reason == "pass"
    assert judge(found, "b.example", {one: SignatureOutcome.INVALID}).reason == "dkim-invalid"


@pytest.mark.parametrize(
    ("signature", "reason"),
    [(SHA1, "dkim-algorithm"), (LENGTH, "dkim-length"), (FROM_ALONE, "dkim-fields")],
)
def test_what_never_counts_however_valid(signature: bytes, reason: str) -> None:
    found = facts(told("pass"), signatures=(signature,))
    assert undecided(found, "b.example") == []
    verdict = judge(found, "b.example", {})
    assert verdict.reply == "554 5.7.1 No valid DKIM signature found"
    assert verdict.reason == reason


def test_no_more_than_some_are_looked_at_again() -> None:
    many = [SIGNATURE.replace(b"Ab+/", f"{number:04}".encode()) for number in range(100)]
    found = facts(signatures=(*[OTHER] * 100, *many))
    assert undecided(found, "b.example") == found.signatures[100:132]


@pytest.mark.parametrize(
    ("outcomes", "reply", "reason"),
    [
        (("INVALID", "PASS"), "250 2.0.0 OK", "pass"),
        (("DNS_FAILED", "PASS"), "250 2.0.0 OK", "pass"),
        (("INVALID", "DNS_FAILED"), "451 4.7.5 DKIM key lookup failed, try again later", "dkim-dns"),
        (("INVALID", "KEY_AWAITED"), "451 4.7.5 DKIM key not found, try again later", "dkim-key-awaited"),
        (("KEY_MISSING", "INVALID"), "554 5.7.1 No valid DKIM signature found", "dkim-key-missing"),
        (("KEY_UNUSABLE", "INVALID"), "554 5.7.1 No valid DKIM signature found", "dkim-key-unusable"),
        (("INVALID", "INVALID"), "554 5.7.1 No valid DKIM signature found", "dkim-invalid"),
    ],
)
def test_of_several_the_most_telling_decides(outcomes: tuple[str, str], reply: str, reason: str) -> None:
    found = facts(signatures=(SIGNATURE, TWIN))
    verdict = judge(
        found,
        "b.example",
        dict(zip(found.signatures, map(SignatureOutcome.__getitem__, outcomes), strict=True)),
    )
    assert (verdict.reply, verdict.reason) == (reply, reason)


@pytest.mark.parametrize(
    ("signatures", "reason"),
    [
        ((), "dkim-none"),
        ((OTHER,), "dkim-invalid"),
        ((SIGNATURE.replace(b"b.example", b"sub.b.example"),), "dkim-invalid"),
        ((SIGNATURE.replace(b"b.example", b"example"),), "dkim-invalid"),
        ((b"",), "dkim-invalid"),
        ((b"v=2; d=b.example",), "dkim-invalid"),
    ],
)
def test_without_a_signature_of_the_domain_itself(signatures: tuple[bytes, ...], reason: str) -> None:
    found = facts(told("pass"), signatures=signatures)
    assert undecided(found, "b.example") == []
    assert judge(found, "b.example", {}).reason == reason


@pytest.mark.parametrize(
    "forgery",
    [PASS, b"A.EXAMPLE; dkim=pass " + NAMED, b"(x) a.example 1;dkim=pass " + NAMED],
)
def test_only_the_first_field_with_our_name_counts_and_the_others_go(forgery: bytes) -> None:
    found = facts(
        b"a.example; dkim=fail header.d=c.example",
        b"c.example; dkim=pass " + NAMED,
        forgery,
        forgery,
    )
    assert undecided(found, "b.example") == found.signatures
    assert found.forged == [3, 4]
