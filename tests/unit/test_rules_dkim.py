"""What OpenDKIM said, what a stranger wants us to think that it said, and the rule on it."""

from __future__ import annotations

import pytest

from chatmail_milter.rules.dkim import DkimFacts, is_plain, judge
from chatmail_milter.rules.results import DkimResult, parse

PASS = (
    b"a.example;\n\tdkim=pass (2048-bit key; unprotected) header.d=b.example header.i=@b.example"
    b' header.a=rsa-sha256 header.s=chatmail header.b="Ab+/cd"'
)
SIGNATURE = b"v=1; a=rsa-sha256; d=b.example;\n\ts=chatmail; t=1; bh=abc=; h=From:From;\n\tb=Ab+/cd"


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
    said = parse(value)
    assert said.authserv_id == authserv_id
    assert said.dkim == tuple(DkimResult(*one) for one in dkim)


@pytest.mark.parametrize(
    "value", [b"(" * 100_000, b'"' * 100_000, b";" * 100_000, b"\\" * 100_000, b"dkim=" * 20_000]
)
def test_hostile_results_are_read_all_the_same(value: bytes) -> None:
    assert parse(value).dkim == ()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (facts(PASS), "pass"),
        (facts(b"a.example; dkim=fail header.d=c.example; dkim=pass header.d=b.example"), "pass"),
        (facts(signatures=()), "dkim-none"),
        (facts(b"a.example; dkim=none", signatures=()), "dkim-none"),
        (facts(b"c.example; dkim=pass header.d=b.example", signatures=()), "dkim-none"),
        (facts(b"a.example; dkim=fail header.d=b.example"), "dkim-invalid"),
        (facts(b"a.example; dkim=permerror (key not found) header.d=b.example"), "dkim-invalid"),
        (facts(b"a.example; dkim=pass header.d=c.example"), "dkim-invalid"),
        (facts(b"a.example; dkim=pass header.d=sub.b.example"), "dkim-invalid"),
        (facts(b"a.example; dkim=pass header.d=example"), "dkim-invalid"),
        (facts(b"a.example; dkim=pass"), "dkim-invalid"),
        (facts(b"a.example; none"), "dkim-invalid"),
        (facts(b"a.example; dkim=temperror header.d=b.example"), "dkim-dns"),
        (facts(b"a.example; dkim=temperror"), "dkim-dns"),
        (facts(b"a.example; dkim=temperror header.d=c.example"), "dkim-invalid"),
        # OpenDKIM adds no field where the key could not be looked up.
        (facts(), "dkim-dns"),
        (facts(b"c.example; dkim=pass header.d=b.example"), "dkim-dns"),
    ],
)
def test_the_rule(found: DkimFacts, reason: str) -> None:
    assert judge(found, "b.example").reason == reason


@pytest.mark.parametrize(
    "forgery",
    [PASS, b"A.EXAMPLE; dkim=pass header.d=b.example", b"(x) a.example 1;dkim=pass header.d=b.example"],
)
def test_only_the_first_field_with_our_name_counts_and_the_others_go(forgery: bytes) -> None:
    found = facts(
        b"a.example; dkim=fail header.d=c.example",
        b"c.example; dkim=pass header.d=b.example",
        forgery,
        forgery,
    )
    assert judge(found, "b.example").reason == "dkim-invalid"
    assert found.forged == [3, 4]


@pytest.mark.parametrize(
    ("tags", "plain"),
    [
        (b"d=b.example; s=chatmail", True),
        (b"d=b.example; i=@b.example", True),
        (b"d=b.example; i=joe+x=3Dy@b.example", True),
        (b"d=b.example;\n\ti=@b.example;", True),
        (b"d=b.example x.c.example", False),
        (b"d=b.example\xff", False),
        (b"s=a b", False),
        (b"s=a(b", False),
        (b"i=x=3B=20dkim=3Dpass=20header.d=3Db.example@c.example", False),
        (b"i=x=3b@c.example", False),
        (b"i=x header.d=b.example@c.example", False),
        (b"i=x=28@c.example", False),
        (b"i==22x=22@c.example", False),
        (b"i=x=0D=0A=20@c.example", False),
    ],
)
def test_signatures_that_could_mislead(tags: bytes, plain: bool) -> None:
    assert is_plain(b"v=1; a=rsa-sha256; " + tags + b"; b=AAAA") is plain
    if not plain:
        assert judge(facts(PASS, signatures=(SIGNATURE, tags)), "b.example").reason == "dkim-not-plain"
