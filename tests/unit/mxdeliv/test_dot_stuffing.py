"""The body of a POST as SMTP DATA: raw or dot-stuffed, any line endings, any chunks, no smuggling."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mxdeliv_app.mxdeliv import dot_stuffing

# Octets that matter, and one that doesn't.
PIECES = [b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\0"]
BODIES = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


def encode(body: bytes, cuts: list[int] | None = None) -> bytes:
    """What goes to Postfix for a body that arrives cut at these places."""
    places = [0, *sorted({min(cut, len(body)) for cut in cuts or []}), len(body)]
    with dot_stuffing.DataEncoder() as encoder:
        out = [piece for a, b in itertools.pairwise(places) for piece in encoder.feed(body[a:b])]
        out += encoder.finish()
    return b"".join([*out, b".\r\n"])  # the final dot is the conversation's


def received(data: bytes) -> bytes:
    """What an SMTP server that follows RFC 5321, 4.5.2 to the letter makes of DATA."""
    assert data.endswith(b".\r\n")
    content, rest = (b"\r\n" + data).split(b"\r\n.\r\n", 1)
    assert rest == b"", "the data ended before its end"
    return re.sub(rb"\r\n\.", b"\r\n", content + b"\r\n")[2:]


def canonical(body: bytes) -> bytes:
    """The body with CRLF lines only, the last one ended, whole at once."""
    body = re.sub(rb"\r(?!\n)", b" ", body)
    body = re.sub(rb"(?<!\r)\n", b"\r\n", body)
    return body if body.endswith(b"\r\n") or not body else body + b"\r\n"


def expected(body: bytes) -> bytes:
    body = canonical(body)
    dotted = [line for line in body.split(b"\r\n") if line.startswith(b".")]
    if all(line.startswith(b"..") for line in dotted):
        return b"\r\n".join(line.removeprefix(b".") for line in body.split(b"\r\n"))
    return body


@given(body=BODIES, cuts=st.lists(st.integers(0, 60), max_size=8))
@example(body=b"a\r\n.", cuts=[3])
@example(body=b"..\r\n.", cuts=[1, 2, 4])
@example(body=b".", cuts=[])
@example(body=b"", cuts=[])
def test_any_body_in_any_chunks_arrives_whole_and_once(body: bytes, cuts: list[int]) -> None:
    assert received(encode(body, cuts)) == expected(body)


@given(body=BODIES, cuts=st.lists(st.integers(0, 60), max_size=8))
def test_nothing_that_leaves_ends_the_data_for_any_reader(body: bytes, cuts: list[int]) -> None:
    data = encode(body, cuts).removesuffix(b".\r\n")
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", data) is None
    # However lenient a reader is about line endings, no line is a lone dot.
    assert b"." not in re.split(rb"\r\n|\r|\n", data)[:-1]


@pytest.mark.parametrize(
    "attempt",
    [
        b"a\n.\nb",
        b"a\n.\r\nb",
        b"a\r.\r\nb",
        b"a\r\n.\nb",
        b"a\r\n.\rb",
        b"a\r.\rb",
        b"a\r\n.\r\nb",
        b"a\r\n.\r\nMAIL FROM:<x@y>\r\n",
    ],
)
def test_smuggled_ends_of_data_stay_content(attempt: bytes) -> None:
    assert encode(attempt).count(b"\r\n.\r\n") == 1


def test_stuffed_body_is_unstuffed_and_raw_body_is_left_alone() -> None:
    assert received(encode(b"S: x\r\n\r\n..dot\r\n...two\r\n")) == b"S: x\r\n\r\n.dot\r\n..two\r\n"
    assert received(encode(b"S: x\r\n\r\n.dot\r\n...two\r\n")) == b"S: x\r\n\r\n.dot\r\n...two\r\n"


def test_a_single_dot_after_megabytes_of_double_dots_makes_the_body_raw() -> None:
    body = b"..x\r\n" * 300_000 + b".y\r\n"
    assert received(encode(body, list(range(0, len(body), 65_536)))) == body


def test_nothing_is_held_without_a_line_that_begins_with_two_dots() -> None:
    with dot_stuffing.DataEncoder() as encoder:
        sent = sum(len(piece) for _ in range(64) for piece in encoder.feed(b"x" * 78 + b"\r\n"))
        assert sent == 64 * 80
        list(encoder.feed(b"."))
        assert not encoder.holding
        list(encoder.feed(b"."))
        assert encoder.holding


@given(body=BODIES, cuts=st.lists(st.integers(0, 60), max_size=8))
def test_a_message_in_pieces_is_stuffed_as_one(body: bytes, cuts: list[int]) -> None:
    places = [0, *sorted({min(cut, len(body)) for cut in cuts}), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(places)]
    assert b"".join(dot_stuffing.stuffed_pieces(pieces)) == dot_stuffing.stuffed(body)
