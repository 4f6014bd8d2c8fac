"""LMTP commands and messages, parsed from a stream in chunks of any size."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxdeliv_app.https.spooled import Octets, SpooledOctets
from mxdeliv_app.relay import stream as streams
from mxdeliv_app.relay.stream import MAX_LINE, SmtpStream

T = TypeVar("T")

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x", b"a\nb", b"\r", b"\xff" * 9]), max_size=8)


def read(octets: bytes, chunk: int, work: Callable[[SmtpStream], Awaitable[T]]) -> T:
    """What `work` makes of a client that sends `octets` in pieces of `chunk`, then leaves."""

    class Pieces:
        def __init__(self) -> None:
            self.at = 0

        async def read(self, _most: int) -> bytes:
            self.at += chunk
            return octets[self.at - chunk : self.at]

    async def run() -> T:
        stream = SmtpStream(cast(asyncio.StreamReader, Pieces()), cast(asyncio.StreamWriter, None))
        return await work(stream)

    return asyncio.run(run())


def stuffed(content: bytes) -> bytes:
    return re.sub(rb"(\A|\r\n)\.", rb"\1..", content) + b".\r\n"


@given(LINES, st.integers(1, 12))
def test_message_comes_out_as_it_went_in_and_what_follows_is_kept(lines: list[bytes], chunk: int) -> None:
    content = b"".join(line + b"\r\n" for line in lines)

    async def work(stream: SmtpStream) -> tuple[Octets | None, bytes | None]:
        return await stream.message(10_000), await stream.line()

    assert read(stuffed(content) + b"QUIT\r\n", chunk, work) == (content, b"QUIT")


@given(LINES, st.integers(1, 12), st.integers(1, 30), st.integers(1, 9))
def test_large_message_is_in_a_file_as_it_went_in(
    lines: list[bytes], chunk: int, in_memory: int, piece: int
) -> None:
    content = b"".join(line + b"\r\n" for line in lines)

    async def work(stream: SmtpStream) -> tuple[Octets | None, bytes | None]:
        return await stream.message(10_000), await stream.line()

    with mock.patch.object(streams, "IN_MEMORY", in_memory):
        found, after = read(stuffed(content) + b"QUIT\r\n", chunk, work)
    if isinstance(found, SpooledOctets):
        assert len(found) == len(content)
        found = b"".join(found.slices(piece))
    assert (found, after) == (content, b"QUIT")


@pytest.mark.slow
def test_large_message_takes_little_memory() -> None:
    content = (b"." + b"x" * 61 + b"\r\n") * 300_000
    octets = stuffed(content)
    tracemalloc.start()
    found = read(octets, 1 << 18, lambda stream: stream.message(20_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, SpooledOctets)
    assert b"".join(found.slices()) == content
    assert peak < 6_000_000


def test_one_line_of_any_length_is_a_message() -> None:
    content = b"x" * 3_000_000 + b"\r\n"
    assert read(stuffed(content), 1 << 18, lambda stream: stream.message(4_000_000)) == content
    assert read(stuffed(content), 1 << 18, lambda stream: stream.message(2_000_000)) is None


@given(st.integers(0, 30), st.integers(1, 40))
def test_limit_is_exact(size: int, chunk: int) -> None:
    content = b"x" * size + b"\r\n"
    found = read(stuffed(content), chunk, lambda stream: stream.message(20))
    assert found == (content if len(content) <= 20 else None)


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r"])
def test_only_crlf_dot_crlf_ends_a_message(end: bytes) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        read(b"x" + end, 100, lambda stream: stream.message(1000))


def test_huge_message_does_not_fill_the_memory() -> None:
    async def work(stream: SmtpStream) -> tuple[Octets | None, int, bytes | None]:
        found = await stream.message(1000)
        return found, len(stream._buffer), await stream.line()

    found, left, after = read(b"x" * 3_000_000 + b"\r\n.\r\nQUIT\r\n", 65536, work)
    assert (found, after) == (None, b"QUIT")
    assert left < 100


def test_line_that_is_too_long_is_none_and_the_next_is_read() -> None:
    async def work(stream: SmtpStream) -> tuple[bytes | None, bytes | None]:
        return await stream.line(), await stream.line()

    assert read(b"x" * (3 * MAX_LINE) + b"\r\nNOOP\n", 1000, work) == (None, b"NOOP")


@pytest.mark.slow
@given(st.text())
def test_replies_are_one_printable_line_each(text: str) -> None:
    stream = SmtpStream(cast(asyncio.StreamReader, None), cast(asyncio.StreamWriter, None))
    stream.say(text)
    said = bytes(stream._replies)
    assert re.fullmatch(rb"[ -~]{0,510}\r\n", said)
