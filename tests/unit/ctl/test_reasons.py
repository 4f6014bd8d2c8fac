"""`chatmailctl reasons` explains each reason that a program may log or reply."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chatmail_milter import codes
from chatmail_milter.ctl.reasons import explain
from chatmail_milter.rules.signature import Flaw
from chatmail_milter.verdict import Verdict
from tests.unit.chatmailctl import rows, run

TOP = Path(__file__).resolve().parents[3]
# As the sources write a reason: given to a verdict, or to an error of the relay's.
_WRITTEN = re.compile(r'(?:because|NoHttpsError|NotTakenError)\("([a-z0-9-]+)"\)')
_MADE = re.compile(r'_(?:reject|tempfail)\([^()]*?"([a-z0-9-]+)"\s*\)', re.DOTALL)


def said() -> set[str]:
    sources = [path for name in ("chatmail_milter", "mxdeliv_app") for path in (TOP / name).rglob("*.py")]
    found = {word for path in sources for word in _WRITTEN.findall(path.read_text("utf-8"))}
    found |= set(_MADE.findall(Path(codes.__file__).read_text("utf-8")))
    found |= {one.reason for one in vars(codes).values() if isinstance(one, Verdict)}
    return found | {flaw.value for flaw in Flaw}


def test_every_reason_that_the_sources_say_is_explained() -> None:
    words = said()
    assert {"blocked-network", "dkim-length", "null-mx", "timeout"} <= words
    assert {word for word in words if explain(word) is None} == set()


@pytest.mark.parametrize("word", ["http-502", "refused-554", "smtp-4yz", "packets-tag-9", "armor-end"])
def test_words_with_numbers_and_those_of_the_gate_are_explained(word: str) -> None:
    assert rows("reasons", word)[0]["reason"] == word


def test_the_list_has_each_word_once_and_an_unknown_word_is_an_error() -> None:
    listed = [row["reason"] for row in rows("reasons")]
    assert len(listed) == len(set(listed)) > 100
    result = run("reasons", "because")
    assert result.exit_code == 1
    assert result.output == "Error: see `chatmailctl reasons`: there is no such word\n"
