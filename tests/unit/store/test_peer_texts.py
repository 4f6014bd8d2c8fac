"""Texts from peers are stored as one short line without addresses and control characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter.store.sanitize import anonymous, printable

BOB = "bob12345@b.test"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("550 5.1.1 <bob12345@b.test>: User unknown", "550 5.1.1 <…>: User unknown"),
        ("550 5.1.1 BOB12345@B.TEST unknown", "550 5.1.1 … unknown"),
        ("550 no mailbox bob12345 here", "550 no mailbox … here"),
        ("550 other@elsewhere.test does not like you", "550 … does not like you"),
        ("see https://b.test/why?a=bob12345%40b.test", "see https:…"),
        ("550 &lt;x&#64;b.test&gt;", "550 &lt;…;"),
        (
            "host mx.b.test[192.0.2.1] said: 450 4.2.1 later",
            "host mx.b.test[192.0.2.1] said: 450 4.2.1 later",
        ),
        ("two\r\nlines\tand \x00 more", "two lines and more"),
        ("\x1b]0;title\x07\x1b[2Jgone", "]0;title [2Jgone"),
        ("a\u202egnirts\u2066 \u200b z", "a gnirts z"),
        ("", ""),
    ],
)
def test_words(said: str, kept: str) -> None:
    assert anonymous(said, [BOB]) == kept


def test_length_is_bounded_and_an_address_at_the_cut_is_none() -> None:
    assert len(anonymous("x y " * 100_000)) == 200
    assert "bob" not in anonymous("y" * 190 + " bobby999@elsewhere.test")


@given(st.text(max_size=300), st.emails())
def test_whatever_is_said_is_printable_short_and_without_the_address(text: str, recipient: str) -> None:
    found = anonymous(f"{text} <{recipient}> {text}", [recipient])
    assert found.isprintable()
    assert len(found) <= 200
    assert recipient not in found


@given(st.text())
def test_nothing_printed_controls_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
