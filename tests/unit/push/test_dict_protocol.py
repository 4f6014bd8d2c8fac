"""Dovecot's dict protocol: requests that 2.3.19 sends for METADATA, other valid ones, and invalid ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxdeliv_app.push.dict_protocol import DialogueError, DictSession, EntryChange, EntryRefusedError

ALICE = "alice123@a.example"
TOKEN = "priv/07d222018497036b2400000083ecc375/devicetoken"


class Entries:
    """One entry, which may be anything but `bad`."""

    def __init__(self, value: str | None = None) -> None:
        self.value = value
        self.seen: list[tuple[str, list[EntryChange]]] = []

    def lookup(self, user: str, key: str) -> str | None:
        if "refused" in key:
            raise EntryRefusedError("not now")
        return self.value if (user, key) == (ALICE, TOKEN) else None

    def change(self, user: str, changes: list[EntryChange]) -> None:
        if any(one.value == "bad" for one in changes):
            raise EntryRefusedError("no device token")
        self.seen.append((user, changes))


def hear(entries: Entries, *lines: bytes) -> list[bytes]:
    dialogue = DictSession(entries)
    assert dialogue.hear(b"H3\t2\t0\t\tmetadata") == b""
    return [dialogue.hear(line) for line in lines]


def test_lookup_tells_the_value_or_that_there_is_none() -> None:
    asked = f"L{TOKEN}\t{ALICE}".encode()
    assert hear(Entries("one two"), asked) == [b"Oone two\n"]
    assert hear(Entries(), asked) == [b"N\n"]
    assert hear(Entries(), b"Lpriv/refused\tx") == [b"Fnot now\n"]


def test_nothing_is_listed() -> None:
    assert hear(Entries("one"), f"I9\t0\tpriv/07d2/\t{ALICE}".encode()) == [b"\n"]


def test_a_transaction_is_answered_when_it_is_committed() -> None:
    entries = Entries()
    lines = (f"B1\t{ALICE}", f"S1\t{TOKEN}\tgood", "C1", f"B2\t{ALICE}", f"U2\t{TOKEN}", "C2")
    assert hear(entries, *(one.encode() for one in lines)) == [b"", b"", b"O1\n", b"", b"", b"O2\n"]
    assert entries.seen == [(ALICE, [EntryChange(TOKEN, "good")]), (ALICE, [EntryChange(TOKEN, None)])]


def test_a_change_that_is_refused_is_said_and_the_connection_stays() -> None:
    lines = (f"B1\t{ALICE}", f"S1\t{TOKEN}\tbad", "C1", f"L{TOKEN}\t{ALICE}")
    assert hear(Entries("x"), *(one.encode() for one in lines))[2:] == [b"F1\tno device token\n", b"Ox\n"]


@pytest.mark.parametrize("lines", [[b"A1\tk\t1"], [b"S1\tk\t\xff"], [b"S1\tk\tv"] * 17])
def test_what_is_not_kept_fails_the_whole_transaction(lines: list[bytes]) -> None:
    entries = Entries()
    answers = hear(entries, b"B1\tu", b"S1\tk\tgood", *lines, b"C1")
    assert answers[-1].startswith(b"F1\t")
    assert entries.seen == []


def test_a_line_without_an_end_in_sight_fails_its_transaction_only() -> None:
    entries = Entries()
    dialogue = DictSession(entries)
    for line in (b"H3\t2\t0\t\tmetadata", b"B1\tu"):
        dialogue.hear(line)
    assert dialogue.hear(b"S1\t" + TOKEN.encode() + b"\t" + b"x" * 60000, whole=False) == b""
    assert dialogue.hear(b"C1") == b"F1\tvalue too long\n"
    assert entries.seen == []


def test_a_transaction_that_is_rolled_back_changes_nothing() -> None:
    entries = Entries()
    assert hear(entries, b"B1\tu", b"S1\tk\tv", b"T1\t5\t5", b"R1") == [b"", b"", b"", b""]
    assert entries.seen == []


def test_fields_are_escaped_as_dovecot_does_both_ways() -> None:
    entries = Entries("tab\tend\none\x01nul\0cr\r")
    dialogue = DictSession(entries)
    dialogue.hear(b"H4\t0\t0\t\tmetadata")
    assert dialogue.hear(f"L{TOKEN}\t{ALICE}".encode()) == b"Otab\x01tend\x01none\x011nul\x010cr\x01r\n"
    for line in (b"B1\tu", b"S1\tk\ta\x01tb\x01nc\x011d\x010e\x01rf\x01lg\x01xh", b"C1"):
        dialogue.hear(line)
    assert entries.seen == [("u", [EntryChange("k", "a\tb\nc\x01d\0e\rf\ngxh")])]


@pytest.mark.parametrize(
    "lines",
    [
        [b"Lx\ty"],
        [b"H2\t2\t0\t\tmetadata"],
        [b"H3\t2\t0\t\tm", b"H3\t2\t0\t\tm"],
        [b"H3\t2\t0\t\tm", b""],
        [b"H3\t2\t0\t\tm", b"X"],
        [b"H3\t2\t0\t\tm", b"Lkey-without-user"],
        [b"H3\t2\t0\t\tm", b"L\xff\tuser"],
        [b"H3\t2\t0\t\tm", b"S7\tk\tv"],
        [b"H3\t2\t0\t\tm", b"C7"],
        [b"H3\t2\t0\t\tm", b"B1\tu", b"S1\tk"],
        [b"H3\t2\t0\t\tm", *[b"B%d\tu" % number for number in range(9)]],
    ],
)
def test_what_is_not_the_protocol_ends_the_connection(lines: list[bytes]) -> None:
    dialogue = DictSession(Entries())
    for line in lines[:-1]:
        dialogue.hear(line)
    with pytest.raises(DialogueError):
        dialogue.hear(lines[-1])


def test_only_what_changes_something_may_be_too_long() -> None:
    dialogue = DictSession(Entries())
    dialogue.hear(b"H3\t2\t0\t\tm")
    with pytest.raises(DialogueError):
        dialogue.hear(b"Lx\ty", whole=False)


@pytest.mark.slow
@given(st.lists(st.one_of(st.binary(max_size=60), st.from_regex(rb"[HLIBSUCDRAT]\d?\t[a-z\t\x01]{0,20}"))))
def test_no_line_is_a_bug(lines: list[bytes]) -> None:
    dialogue = DictSession(Entries())
    dialogue.hear(b"H3\t2\t0\t\tm")
    for line in lines:
        try:
            answer = dialogue.hear(line.replace(b"\n", b""))
        except DialogueError:
            return
        assert answer == b"" or answer.endswith(b"\n")
