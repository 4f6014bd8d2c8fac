"""The server side of Dovecot's dict protocol, as a parser without I/O.

Supports what Dovecot needs for IMAP METADATA (`mail_attribute_dict`): lookups, iterations (always empty), and
transactions with set and unset. A transaction with another command fails as a whole.
https://doc.dovecot.org/2.4.1/developers/design/dict_protocol.html (3.2 is what 2.3.19 speaks, 4 is 2.4's)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

MAJOR_VERSIONS = (b"3", b"4")
# Limits per connection. Dovecot uses one transaction at a time, with one change.
_TRANSACTIONS = 8
_CHANGES = 16

_ESCAPES = {b"\0": b"\x010", b"\x01": b"\x011", b"\t": b"\x01t", b"\r": b"\x01r", b"\n": b"\x01n"}
_UNESCAPES = {b"0": b"\0", b"1": b"\x01", b"t": b"\t", b"r": b"\r", b"n": b"\n", b"l": b"\n"}


class DialogueError(Exception):
    """Protocol violation: the connection must be closed."""


class EntryRefusedError(Exception):
    """A lookup or change is refused. The message goes to Dovecot's log and must contain no address."""


@dataclass(frozen=True, slots=True)
class EntryChange:
    """A change of one entry. `value`: None removes it."""

    key: str
    value: str | None


class EntryStore(Protocol):
    """The entries that the protocol reads and writes. Methods raise `EntryRefusedError`."""

    def lookup(self, user: str, key: str) -> str | None: ...

    def change(self, user: str, changes: list[EntryChange]) -> None: ...


@dataclass(slots=True)
class _Transaction:
    user: str
    changes: list[EntryChange] = field(default_factory=list)
    refused: str = ""


class DictSession:
    """The state of one connection from Dovecot."""

    def __init__(self, entries: EntryStore) -> None:
        self._entries = entries
        self._greeted = False
        self._transactions: dict[bytes, _Transaction] = {}

    def hear(self, line: bytes, *, whole: bool = True) -> bytes:
        """Handles a line without its line end; returns the answer, empty if there is none.

        `whole`: False for the beginning of a line that was too long. Raises `DialogueError`.
        """
        command, fields = line[:1], line[1:].split(b"\t")
        if command == b"H":
            self._greet(fields)
            return b""
        if not self._greeted:
            raise DialogueError("no greeting")
        if command in b"SUAT" and command:
            self._note(command, fields, whole)
            return b""
        if not whole:
            raise DialogueError("line too long")
        if command == b"L":
            return self._lookup(*_wanted(fields, 2))
        if command == b"I":
            # The end of an empty list.
            return b"\n"
        if command == b"B":
            self._begin(*_wanted(fields, 2))
            return b""
        if command in (b"C", b"D"):
            return self._commit(fields[0])
        if command == b"R":
            self._transactions.pop(fields[0], None)
            return b""
        raise DialogueError("unknown command")

    def _greet(self, fields: list[bytes]) -> None:
        if self._greeted or fields[0] not in MAJOR_VERSIONS:
            raise DialogueError("another version")
        self._greeted = True

    def _lookup(self, key: bytes, user: bytes) -> bytes:
        try:
            value = self._entries.lookup(_text(user), _text(key))
        except EntryRefusedError as error:
            return b"F" + _escaped(str(error)) + b"\n"
        return b"N\n" if value is None else b"O" + _escaped(value) + b"\n"

    def _begin(self, number: bytes, user: bytes) -> None:
        if len(self._transactions) >= _TRANSACTIONS:
            raise DialogueError("too many transactions")
        self._transactions[number] = _Transaction(_text(user))

    def _note(self, command: bytes, fields: list[bytes], whole: bool) -> None:
        transaction = self._transactions.get(fields[0])
        if transaction is None:
            raise DialogueError("no such transaction")
        if not whole:
            transaction.refused = "value too long"
        elif command == b"S":
            _, key, value = _wanted(fields, 3)
            self._change(transaction, key, value)
        elif command == b"U":
            _, key = _wanted(fields, 2)
            self._change(transaction, key, None)
        elif command == b"A":
            transaction.refused = "no numbers are kept"
        # T, the time of the change, is ignored.

    def _change(self, transaction: _Transaction, key: bytes, value: bytes | None) -> None:
        if len(transaction.changes) >= _CHANGES:
            transaction.refused = "too many changes"
            return
        try:
            transaction.changes.append(EntryChange(_text(key), None if value is None else _text(value)))
        except DialogueError:
            transaction.refused = "not UTF-8"

    def _commit(self, number: bytes) -> bytes:
        transaction = self._transactions.pop(number, None)
        if transaction is None:
            raise DialogueError("no such transaction")
        try:
            if transaction.refused:
                raise EntryRefusedError(transaction.refused)
            self._entries.change(transaction.user, transaction.changes)
        except EntryRefusedError as error:
            return b"F" + number + b"\t" + _escaped(str(error)) + b"\n"
        return b"O" + number + b"\n"


def _wanted(fields: list[bytes], number: int) -> list[bytes]:
    if len(fields) < number:
        raise DialogueError("too few fields")
    return fields[:number]


def _text(octets: bytes) -> str:
    unescaped = re.sub(rb"\x01(.)", lambda found: _UNESCAPES.get(found[1], found[1]), octets, flags=re.DOTALL)
    try:
        return unescaped.decode()
    except UnicodeDecodeError:
        raise DialogueError("not UTF-8") from None


def _escaped(text: str) -> bytes:
    return re.sub(rb"[\0\x01\t\r\n]", lambda found: _ESCAPES[found[0]], text.encode())
