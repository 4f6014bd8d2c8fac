"""The federation mode: open with exceptions, or closed with exceptions."""

from __future__ import annotations

import pytest

from chatmail_milter.rules.policy import Federation

EXCEPTIONS = frozenset({"example.org", ".example.net", "[192.0.2.1]"})


@pytest.mark.parametrize(
    ("domain", "excepted"),
    [
        ("example.org", True),
        ("sub.example.org", False),
        ("example.net", False),
        ("sub.example.net", True),
        ("[192.0.2.1]", True),
        ("[192.0.2.2]", False),
        ("other.example", False),
    ],
)
def test_exceptions_turn_the_rule_around(domain: str, excepted: bool) -> None:
    assert Federation("open", EXCEPTIONS).admits(domain) is not excepted
    assert Federation("closed", EXCEPTIONS).admits(domain) is excepted


def test_without_exceptions_it_is_all_or_none() -> None:
    assert Federation().admits("example.org")
    assert Federation("open").admits("example.org")
    assert not Federation("closed").admits("example.org")
