"""The milter's transaction without Postfix: which rule comes first, and that no endless header is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatmail_milter.gate.gate import Direction
from chatmail_milter.milter.transaction import RuleSettings, Transaction
from chatmail_milter.rules.policy import OPEN
from tests.messages import ALICE
from tests.work import peak

MIB = 1 << 20
# Each field kept would be 64 octets and more, above the bound together.
TIMES = 25_000
SIGNATURE = b" v=1; a=rsa-sha256; d=a.example; s=s; h=from:date; bh=AAAA; b=%08d"


def _fields(name: str, value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "From", f" <{ALICE}>".encode()
    for number in range(TIMES):
        yield name, value % number if b"%" in value else value


@pytest.mark.slow
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(
    ("name", "value"),
    [("DKIM-Signature", SIGNATURE), ("Authentication-Results", b" mx.a.example; none"), ("X-Spam", b" x")],
)
def test_a_header_without_end_is_refused_and_not_kept(direction: Direction, name: str, value: bytes) -> None:
    # (Postfix has no bound on how many fields there are, but for the message's own of 30 MB.)
    def run() -> None:
        transaction = Transaction(RuleSettings("mx.a.example", False), direction, None, ALICE, OPEN)
        transaction.fields(_fields(name, value))
        transaction.end_of_header()
        transaction.body(b"\r\n")
        # Of a user's message these go, and what is left is no encrypted message.
        assert transaction.decide().verdict.code == 523

    assert peak(run) < MIB


@pytest.mark.parametrize(("author", "code"), [("bob@b.example", 500), (ALICE, 523)])
def test_of_a_users_message_the_author_comes_before_encryption(author: str, code: int) -> None:
    # As on other chatmail relays.
    transaction = Transaction(RuleSettings("mx.a.example", False), Direction.OUT, None, ALICE, OPEN)
    transaction.fields([("From", f" <{author}>".encode()), ("Content-Type", b" text/plain")])
    transaction.end_of_header()
    transaction.body(b"in clear\r\n")
    assert transaction.decide().verdict.code == code
