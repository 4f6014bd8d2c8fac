"""The wire of WebIMAP: what a client may say, and what IMAP says as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imapclient.response_types import Address, Envelope

from mxdeliv_app.webimap import wire
from mxdeliv_app.webimap.wire import WireError

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS: list[Callable[[dict[str, Any]], object]] = [
    lambda data: wire.text(data, "x"),
    lambda data: wire.number(data, "x"),
    lambda data: wire.flags({"flags": data["x"]}),
    lambda data: wire.recipients({"to": data["x"]}, 3),
    lambda data: wire.message({"body": data["x"]}, 100),
    lambda data: wire.credentials({"email": data["x"], "password": data["x"]}),
]


@pytest.mark.parametrize("field", FIELDS)
@given(value=ANY_JSON)
def test_any_value_is_taken_or_is_an_error_of_the_client(
    field: Callable[[dict[str, Any]], object], value: Any
) -> None:
    statuses = []
    try:
        field({"x": value})
    except WireError as error:
        statuses.append(error.status)
    assert set(statuses) <= {400, 401, 413}


@pytest.mark.parametrize("frame", ["", "{", "[1]", "null", '"x"', "9" * 5000, "[" * 20_000])
def test_what_is_no_object_is_an_error(frame: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.decoded(frame)
    assert caught.value.status == 400


@pytest.mark.parametrize("value", ["{},", "[],", "1,"])
def test_json_of_many_values_is_refused_before_it_takes_memory(value: str) -> None:
    frame = '{"x":[' + value * 20_000 + "1]}"
    for one in (frame, frame.encode()):
        with pytest.raises(WireError) as caught:
            wire.decoded(one)
        assert caught.value.status == 413


@given(st.binary(min_size=1))
def test_a_message_of_any_octets_comes_back_as_it_was(octets: bytes) -> None:
    decoder = wire.decoder()
    pieces = [decoder.decode(octets[at : at + 1]) for at in range(len(octets))] + [decoder.decode(b"", True)]
    text = json.loads(wire.encoded({"body": "".join(pieces)}))
    assert wire.message(text, len(octets)) == octets


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"body": "x" * 11}, 413),
        ({"body": "\udc41"}, 400),
        ({"body": ""}, 400),
        ({}, 400),
    ],
)
def test_what_is_no_message(data: dict[str, Any], status: int) -> None:
    with pytest.raises(WireError) as caught:
        wire.message(data, 10)
    assert caught.value.status == status


@pytest.mark.parametrize("name", ["a\r\nb", "a\0", "", "x" * 256, "\ud800", 5, ["INBOX"]])
def test_what_is_no_name_of_a_mailbox(name: Any) -> None:
    with pytest.raises(WireError):
        wire.text({"mailbox": name}, "mailbox")


@pytest.mark.parametrize(
    "to", [["a b@c"], ["<a@b>"], ["a@b\r\nDATA"], ["ä@b"], [], [None], "a@b", ["a@b"] * 4]
)
def test_what_are_no_recipients(to: Any) -> None:
    with pytest.raises(WireError):
        wire.recipients({"to": to}, 3)


@pytest.mark.parametrize("flags", [["\\Seen)"], ["a b"], [""], ["\\Seen\r\n"], [1], "\\Seen", ["x"] * 21])
def test_what_are_no_flags(flags: Any) -> None:
    with pytest.raises(WireError):
        wire.flags({"flags": flags})


@pytest.mark.parametrize(
    ("value", "number"), [(7, 7), ("7", 7), (2**40, 2**32 - 1), ("9999999999", 2**32 - 1), (0, 0)]
)
def test_numbers_also_of_a_query(value: Any, number: int) -> None:
    assert wire.number({"uid": value}, "uid") == number


@pytest.mark.parametrize("data", [{}, {"since_uid": None}, {"since_uid": ""}])
def test_a_number_that_is_empty_is_absent(data: dict[str, Any]) -> None:
    assert wire.number(data, "since_uid", 7) == 7
    with pytest.raises(WireError) as caught:
        wire.number(data, "since_uid")
    assert caught.value.text == "since_uid is required"


@pytest.mark.parametrize("value", [-1, True, 1.5, "", "-1", "1e3", "٣", [], {}])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(WireError):
        wire.number({"uid": value}, "uid")


@pytest.mark.parametrize("password", ["", "a\0b", "\ud800", "x" * 1025, None, 5])
def test_what_is_no_password(password: Any) -> None:
    with pytest.raises(WireError) as caught:
        wire.credentials({"email": "a@b.test", "password": password})
    assert caught.value.status == 401


def test_a_summary_has_the_keys_of_the_wire() -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    sender = (Address(b"N\xc3\xa4me", None, b"a", b"a.test"),)
    envelope = Envelope(moment, b"[...]", sender, sender, None, None, None, None, None, b"<1@a.test>")
    found = {
        b"SEQ": 3,
        b"FLAGS": (b"\\Seen", b"\\Recent"),
        b"RFC822.SIZE": 9,
        b"INTERNALDATE": moment,
        b"ENVELOPE": envelope,
    }
    assert wire.summary(7, found) == {
        "uid": 7,
        "seq_num": 3,
        "flags": ["\\Seen"],
        "size": 9,
        "date": "2026-02-03T02:05:06Z",
        "envelope": {
            "date": "2026-02-03T02:05:06Z",
            "subject": "[...]",
            "from": [{"name": "Näme", "mailbox": "a", "host": "a.test"}],
            "to": [],
            "cc": [],
            "message_id": "<1@a.test>",
            "in_reply_to": "",
        },
    }


@pytest.mark.parametrize(
    "moment",
    [
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(-timedelta(hours=23))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))),
    ],
)
def test_a_date_that_is_none_in_utc_is_empty(moment: datetime) -> None:
    """Any sender writes it, and the whole list must not fail for it."""
    assert wire._date(moment) == ""
