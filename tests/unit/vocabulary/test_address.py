"""Each address has one canonical form, however peers spell it."""

import pytest

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alice@example.org", "alice@example.org"),
        ("<Alice@Example.ORG>", "alice@example.org"),
        ("  a.b+c@_a.lab ", "a.b+c@_a.lab"),
        ("u@1.2.3.4", "u@[1.2.3.4]"),
        ("u@[1.2.3.4]", "u@[1.2.3.4]"),
        ("u@[IPv6:2001:DB8:0::1]", "u@[IPv6:2001:db8::1]"),
        ("u@bücher.example", "u@xn--bcher-kva.example"),
        ("u@BÜCHER.Example", "u@xn--bcher-kva.example"),
        ("u@bu\u0308cher.example", "u@xn--bcher-kva.example"),
        ("u@bücher\u3002example", "u@xn--bcher-kva.example"),
        ("u@_a.bücher.lab", "u@_a.xn--bcher-kva.lab"),
        # IDNA 2003 has other domains for these: fass.example, and a sigma that isn't final.
        ("u@faß.example", "u@xn--fa-hia.example"),
        ("u@ὀδυσσεύς.example", "u@xn--pxac3bcak3d8526a.example"),
        ("u@xn--fa-hia.example", "u@xn--fa-hia.example"),
    ],
)
def test_each_form_of_a_mailbox_has_one_canonical_form(text: str, canonical: str) -> None:
    assert address.parse(text) == canonical
    assert address.is_canonical(canonical)
    assert address.is_canonical(text) == (text == canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "alice",
        "@example.org",
        "alice@",
        "a@b@c d",
        "a\r\nRCPT TO:<x>@example.org",
        "a\x00@example.org",
        '"a b"@example.org',
        "a..b@example.org",
        "<@relay:a@example.org>",
        "a,b@example.org",
        "a@-b.example",
        "a@b..example",
        "a@" + "x" * 64 + ".example",
        "a@" + ".".join(["x" * 49] * 5) + ".exam",
        # Emoji, a dot that is none, a label that mixes directions, one that is too long as an A-label.
        "a@\u2603.example",
        "a@b\u2024example",
        "a@\u0627x.example",
        "a@" + "ü" * 60 + ".example",
        "x" * 65 + "@example.org",
        "a@[1.2.3]",
        "alice@example.org>",
    ],
)
def test_a_malformed_mailbox_is_refused(text: str) -> None:
    with pytest.raises(MalformedAddressError):
        address.parse(text)
    assert not address.is_canonical(text)


@pytest.mark.parametrize(
    ("domain", "any_certificate"),
    [("_a.lab", True), ("[1.2.3.4]", True), ("1.2.3.4", True), ("a_b.lab", False), ("example.org", False)],
)
def test_only_test_domains_and_literals_go_without_a_verified_certificate(
    domain: str, any_certificate: bool
) -> None:
    assert address.trusts_any_certificate(domain) is any_certificate


@pytest.mark.parametrize(
    ("domain", "patterns"),
    [
        ("example.org", ["example.org", ".org"]),
        ("a.b.example.org", ["a.b.example.org", ".b.example.org", ".example.org", ".org"]),
        ("localhost", ["localhost"]),
        ("[192.0.2.1]", ["[192.0.2.1]"]),
    ],
)
def test_a_list_names_a_domain_itself_or_those_above_it_with_a_dot(domain: str, patterns: list[str]) -> None:
    assert list(address.patterns(domain)) == patterns
