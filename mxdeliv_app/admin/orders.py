"""The orders of the admin pages: a closed list of commands of `chatmailctl`, with checked arguments.

Used twice: by the pages, to name an invalid field, and by `order_daemon.py`, which runs as root and does not
trust the pages. The parser of `chatmailctl` itself checks each value, and values come after `--`, so that
none is read as an option.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config import values
from chatmail_milter.rules import blocklist
from chatmail_milter.store.routes import Route, RouteError
from chatmail_milter.store.tables import NOTE_MAX

Values = Mapping[str, str]
_LONGEST = 1000  # characters of any value


class UnknownOrderError(Exception):
    """There is no such order."""


class ValueOfFieldError(ValueError):
    """The value of `field` is invalid; the message is the reason."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an order. `read`: checks a value, raises `ValueError`. `schema`: JSON Schema of its values.

    An optional field may be empty, too: browsers send what was left out.
    """

    read: Callable[[str], str]
    schema: Mapping[str, Any]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Order:
    """An order. `words`: the arguments of `chatmailctl`, from the values of the fields that were given."""

    fields: Mapping[str, Field]
    words: Callable[[Values], list[str]]


def words(name: str, given: Values) -> list[str]:
    """The arguments of `chatmailctl`. Raises `UnknownOrderError`, `ValueOfFieldError`."""
    try:
        order = ORDERS[name]
    except KeyError:
        raise UnknownOrderError(name) from None
    for field in given:
        if field not in order.fields:
            raise ValueOfFieldError(field, "is no field of this")
    found = {name: _value(name, field, given.get(name, "")) for name, field in order.fields.items()}
    return order.words({name: value for name, value in found.items() if value})


def _value(name: str, field: Field, given: str) -> str:
    """The checked value; empty without one."""
    text = given.strip()
    if not text:
        if field.required:
            raise ValueOfFieldError(name, "is missing")
        return ""
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueOfFieldError(name, f"is one line of at most {_LONGEST} characters")
    try:
        return field.read(text)
    except (MalformedAddressError, blocklist.MalformedEntryError, ValueError) as error:
        raise ValueOfFieldError(name, str(error)) from None


def _line(read: Callable[[str], str], what: str, sample: str, longest: int = _LONGEST) -> Field:
    """One line of text, such as `sample`."""

    def checked(text: str) -> str:
        if len(text) > longest:
            raise ValueError(f"is at most {longest} characters long")
        return read(text)

    schema = {"type": "string", "maxLength": longest, "description": what, "examples": [sample]}
    return Field(checked, schema)


def _one_of(*choices: str) -> Field:
    """One of some words, optional."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"can be {', '.join(choices)}")
        return text

    return Field(read, {"type": "string", "enum": list(choices)}, required=False)


def _matching(pattern: str, what: str) -> Field:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"is no {what}")
        return text

    return Field(read, {"type": "string", "pattern": f"^{pattern}$", "description": what})


def _optional(field: Field) -> Field:
    return replace(field, required=False)


def _duration(text: str) -> str:
    values.duration(text)
    return text


def _route_set(given: Values) -> list[str]:
    domain, target, verify = given["domain"], given.get("target"), given.get("verify")
    https, single = given.get("https", "prefer"), "one_per_recipient" in given
    try:
        Route(domain, target, https, None, single)  # type: ignore[arg-type]  # one of the field's choices
    except RouteError as error:
        raise ValueOfFieldError("target", str(error)) from None
    options = [f"--https={https}"]
    options += [] if verify is None else ["--verify" if verify == "yes" else "--no-verify"]
    options += ["--one-per-recipient"] if single else []
    return ["route", "set", *options, "--", domain, *([target] if target else [])]


def _block_add(given: Values) -> list[str]:
    note = given.get("note")
    return ["block", "add", *([f"--note={note}"] if note else []), "--", given["entry"]]


def _token_create(given: Values) -> list[str]:
    return ["token", "create", *(f"--{name}={given[name]}" for name in ("uses", "expires") if name in given)]


def _trace(given: Values) -> list[str]:
    return ["trace", "--json", f"--since={given['since']}", "--", given["id"]]


def _simple(*command: str, **fields: Field) -> Order:
    """An order whose arguments are its fields."""

    def words(given: Values) -> list[str]:
        found = [given[name] for name in fields if name in given]
        return [*command, *(["--", *found] if found else [])]

    return Order(fields, words)


_DOMAIN = _line(address.domain, "domain, or IP address in brackets", "example.org")
_ADDRESS = _line(address.parse, "e-mail address", "alice@chat.example.org")
_ENTRY = _line(
    blocklist.entry, "address, domain, .domain (all below it), IP address or network", "192.0.2.0/24"
)
_DOMAINS = _line(blocklist.domain_entry, "domain, or .domain (all below it)", ".example.org")
_QUEUE_ID = _matching("[0-9A-Za-z]{5,30}", "queue ID")
_SINCE = _line(_duration, "how much of the journal to read, a duration with its unit", "2h")

ORDERS: Mapping[str, Order] = MappingProxyType(
    {
        "route-set": Order(
            {
                "domain": _DOMAIN,
                "target": _optional(_line(str, "host, or https URL", "mx.example.org")),
                "https": _one_of("prefer", "only", "never"),
                "verify": _one_of("yes", "no"),
                "one_per_recipient": _one_of("yes"),
            },
            _route_set,
        ),
        "route-unset": _simple("route", "remove", domain=_DOMAIN),
        "endpoints-forget": _simple("endpoints", "forget", domain=_DOMAIN),
        "block-add": Order(
            {"entry": _ENTRY, "note": _optional(_line(str, "note", "unwanted", NOTE_MAX))}, _block_add
        ),
        "block-remove": _simple("block", "remove", entry=_ENTRY),
        "federation-open": _simple("federation", "open"),
        "federation-closed": _simple("federation", "closed"),
        "federation-add": _simple("federation", "add", domain=_DOMAINS),
        "federation-remove": _simple("federation", "remove", domain=_DOMAINS),
        "queue-flush": _simple("queue", "flush", domain=_optional(_DOMAIN)),
        "queue-retry": Order({"id": _QUEUE_ID}, lambda given: ["queue", "flush", f"--id={given['id']}"]),
        "queue-hold": _simple("queue", "hold", id=_QUEUE_ID),
        "queue-release": _simple("queue", "release", id=_QUEUE_ID),
        "queue-delete": _simple("queue", "delete", "--yes", id=_QUEUE_ID),
        "account-suspend": _simple("account", "suspend", address=_ADDRESS),
        "account-resume": _simple("account", "resume", address=_ADDRESS),
        "account-delete": _simple("account", "delete", address=_ADDRESS),
        "token-create": Order(
            {
                "uses": _optional(_matching("[1-9][0-9]{0,8}", "number above 0")),
                "expires": _optional(_line(_duration, "duration with its unit", "12h")),
            },
            _token_create,
        ),
        "token-revoke": _simple("token", "remove", token=_matching("[0-9A-Za-z]{1,100}", "token")),
        "queue": _simple("queue", "--json"),
        "trace": Order({"id": _QUEUE_ID, "since": _SINCE}, _trace),
        "doctor": _simple("doctor", "--json"),
        "services": _simple("doctor", "--only", "services", "--json"),
    }
)
