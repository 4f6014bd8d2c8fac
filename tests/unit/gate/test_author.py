"""The author of a message: the From field (RFC 5322, 3.6.2), read strictly."""

from __future__ import annotations

import contextlib
import sys

import pytest

from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate import fields
from chatmail_milter.gate.fields import author
from tests.chat.deadline import deadline
from tests.work import HANG, assert_linear


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("alice@a.example", "alice@a.example"),
        ("<alice@a.example>", "alice@a.example"),
        ("Alice <Alice@A.example>", "alice@a.example"),
        ('"Alice, of \\"A\\"" <alice@a.example>', "alice@a.example"),
        ("Dr. Alice B. Clark\r\n <alice@a.example>", "alice@a.example"),
        ("=?utf-8?q?J=C3=B6rg?= <alice@a.example>", "alice@a.example"),
        ("Jörg <alice@a.example>", "alice@a.example"),
        ("MAILER-DAEMON@a.example (Mail Delivery System)", "mailer-daemon@a.example"),
        ("(a (nested) one \\) ) alice@a.example", "alice@a.example"),
        # Clients read UTF-8 and show this very domain; read as Latin-1 it would be somebody else's.
        ("<alice@bücher.example>", "alice@xn--bcher-kva.example"),
        ("<u@1.2.3.4>", "u@[1.2.3.4]"),
        ("<u@[IPv6:2001:db8::1]>", "u@[IPv6:2001:db8::1]"),
    ],
)
def test_one_mailbox(value: str, address: str) -> None:
    assert author([value.encode()]) == address


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["alice@a.example", "alice@a.example"],
        [""],
        ["Alice"],
        ["alice@a.example, bob@b.example"],
        ["<alice@a.example>, <bob@b.example>"],
        ["alice@a.example <bob@b.example>"],
        ["alice@a.example\0<bob@b.example>"],
        ['"alice@a.example" bob@b.example'],
        ["Friends: alice@a.example;"],
        ["<alice@a.example> <bob@b.example>"],
        ["<alice@a.example>bob@b.example"],
        ["<<alice@a.example>>"],
        ["<@a.example:bob@b.example>"],
        ['"alice"@a.example'],
        ["<alice@a.example"],
        ["(alice@a.example"],
        ["alice@a.example)"],
        ["<alice @a.example>"],
        ["Alice\r <alice@a.example>"],
        ["Alice\0 <alice@a.example>"],
        ["Alice\n<alice@a.example>"],
        ["=?utf-8?q?alice=40a.example?="],
        ["<alice@a.example>" + " " * 5000],
    ],
)
def test_anything_else_is_malformed(values: list[str]) -> None:
    with pytest.raises(MalformedAddressError):
        author([value.encode() for value in values])


def test_a_domain_that_is_neither_ascii_nor_utf_8_is_malformed() -> None:
    with pytest.raises(MalformedAddressError):
        author(["<alice@bücher.example>".encode("latin-1")])


def test_a_name_in_any_charset_is_no_matter() -> None:
    assert author(["Jörg <alice@a.example>".encode("latin-1")]) == "alice@a.example"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["(", '"', "\\", "<", ",", "a ", "=?", "()", " ", "a@", '""', "\r\n "])
def test_hostile_fields_cost_work_in_proportion(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(size: int) -> None:
        with contextlib.suppress(MalformedAddressError):
            author([(text * (size // len(text))).encode()])

    with deadline("the fields are parsed", HANG):
        assert_linear(ask, 4000)
        # The limit away, what C did with the square of it would take minutes.
        monkeypatch.setattr(fields, "FIELD_MOST", sys.maxsize)
        ask(400_000)
