"""The orders of the admin pages: a closed list of commands of `chatmailctl`, with checked arguments.

Used twice: by the pages, to name an invalid field, and by `order_daemon.py`, which runs as root and does not
trust the pages. The parser of `chatmailctl` itself checks each value, and values come after `--`, so that
none is read as an option.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config import values
from chatmail_milter.rules import blocklist
from chatmail_milter.store.routes import Route, RouteError
from chatmail_milter.store.tables import NOTE_MAX

Values = Mapping[str, str]
_LONGEST = 1000  # characters of any value
_QUEUE_ID = re.compile(r"[0-9A-Za-z]{5,30}", re.ASCII)
_TOKEN_ID = re.compile(r"[0-9A-Za-z]{1,100}", re.ASCII)


class UnknownOrderError(Exception):
    """There is no such order."""


class ValueOfFieldError(ValueError):
    """The value of `field` is invalid; the message is the reason."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True, slots=True)
class Order:
    """An order. `words`: converts values to arguments. `looks`: changes nothing, so any session may."""

    words: Callable[[_OrderFields], list[str]]
    looks: bool = False


class _OrderFields:
    """The values of an order, read one by one. Values that were not read are an error."""

    def __init__(self, given: Values) -> None:
        self._given = dict(given)

    def get(self, field: str, read: Callable[[str], str]) -> str:
        """A required value."""
        text = self._given.pop(field, "").strip()
        if not text:
            raise ValueOfFieldError(field, "is missing")
        return _read(field, text, read)

    def maybe(self, field: str, read: Callable[[str], str]) -> str | None:
        """An optional value."""
        text = self._given.pop(field, "").strip()
        return _read(field, text, read) if text else None

    def end(self) -> None:
        for field in self._given:
            raise ValueOfFieldError(field, "is no field of this")


def words(name: str, given: Values) -> list[str]:
    """The arguments of `chatmailctl`. Raises `UnknownOrderError`, `ValueOfFieldError`."""
    try:
        order = ORDERS[name]
    except KeyError:
        raise UnknownOrderError(name) from None
    fields = _OrderFields(given)
    found = order.words(fields)
    fields.end()
    return found


def _read(field: str, text: str, read: Callable[[str], str]) -> str:
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueOfFieldError(field, f"is one line of at most {_LONGEST} characters")
    try:
        return read(text)
    except (MalformedAddressError, blocklist.MalformedEntryError, ValueError) as error:
        raise ValueOfFieldError(field, str(error)) from None


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"can be {', '.join(choices)}")
        return text

    return read


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"is no {what}")
        return text

    return read


def _note(text: str) -> str:
    if len(text) > NOTE_MAX:
        raise ValueError(f"is at most {NOTE_MAX} characters long")
    return text


def _duration(text: str) -> str:
    values.duration(text)
    return text


def _number(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII):
        raise ValueError("is a number above 0")
    return text


def _route_set(fields: _OrderFields) -> list[str]:
    domain = fields.get("domain", address.domain)
    target = fields.maybe("target", str)
    https = fields.maybe("https", _one_of("prefer", "only", "never")) or "prefer"
    verify = fields.maybe("verify", _one_of("yes", "no"))
    single = fields.maybe("one_per_recipient", _one_of("yes"))
    try:
        Route(domain, target, https, None, single is not None)  # type: ignore[arg-type]  # read above
    except RouteError as error:
        raise ValueOfFieldError("target", str(error)) from None
    options = [f"--https={https}"]
    options += [] if verify is None else ["--verify" if verify == "yes" else "--no-verify"]
    options += ["--one-per-recipient"] if single else []
    return ["route", "set", *options, "--", domain, *([target] if target else [])]


def _block_add(fields: _OrderFields) -> list[str]:
    entry, note = fields.get("entry", blocklist.entry), fields.maybe("note", _note)
    return ["block", "add", *([f"--note={note}"] if note else []), "--", entry]


def _token_create(fields: _OrderFields) -> list[str]:
    uses, expires = fields.maybe("uses", _number), fields.maybe("expires", _duration)
    options = [f"--uses={uses}"] if uses else []
    return ["token", "create", *options, *([f"--expires={expires}"] if expires else [])]


def _simple(*command: str, **read: Callable[[str], str]) -> Order:
    """An order whose arguments are its fields, all of them required."""
    return Order(lambda fields: [*command, "--", *(fields.get(name, one) for name, one in read.items())])


def _flush(fields: _OrderFields) -> list[str]:
    domain = fields.maybe("domain", address.domain)
    return ["queue", "flush", *(["--", domain] if domain else [])]


_queue_id = _matching(_QUEUE_ID, "queue ID")

ORDERS: Mapping[str, Order] = MappingProxyType(
    {
        "route-set": Order(_route_set),
        "route-unset": _simple("route", "remove", domain=address.domain),
        "endpoints-forget": _simple("endpoints", "forget", domain=address.domain),
        "block-add": Order(_block_add),
        "block-remove": _simple("block", "remove", entry=blocklist.entry),
        "federation-open": Order(lambda _: ["federation", "open"]),
        "federation-closed": Order(lambda _: ["federation", "closed"]),
        "federation-add": _simple("federation", "add", domain=blocklist.domain_entry),
        "federation-remove": _simple("federation", "remove", domain=blocklist.domain_entry),
        "queue-flush": Order(_flush),
        "queue-hold": _simple("queue", "hold", id=_queue_id),
        "queue-release": _simple("queue", "release", id=_queue_id),
        "queue-delete": _simple("queue", "delete", "--yes", id=_queue_id),
        "account-suspend": _simple("account", "suspend", address=address.parse),
        "account-resume": _simple("account", "resume", address=address.parse),
        "account-delete": _simple("account", "delete", address=address.parse),
        "token-create": Order(_token_create),
        "token-revoke": _simple("token", "remove", token=_matching(_TOKEN_ID, "token")),
        "queue": Order(lambda _: ["queue", "--json"], looks=True),
        "doctor": Order(lambda _: ["doctor", "--json"], looks=True),
        "services": Order(lambda _: ["doctor", "--only", "services", "--json"], looks=True),
    }
)
