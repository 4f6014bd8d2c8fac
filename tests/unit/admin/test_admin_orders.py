"""Orders of the admin pages: their `chatmailctl` arguments, the daemon that runs them, shared snapshots."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import pytest

from chatmail_milter.ctl.main import main
from mxdeliv_app.admin import order_daemon, orders
from mxdeliv_app.admin.order_client import AwayError, Done, Orders
from mxdeliv_app.admin.requests import ProblemError
from mxdeliv_app.admin.snapshot import Snapshot
from tests.chat.deadline import until
from tests.unit import chatmailctl

QUEUE_ID = "4jXjz71Ts6z7LNm"
GOOD: list[tuple[str, dict[str, str], str]] = [
    ("route-set", {"domain": "B.test"}, "route set --https=prefer -- b.test"),
    (
        "route-set",
        {
            "domain": "b.test",
            "target": "mx.b.test",
            "https": "only",
            "verify": "no",
            "one_per_recipient": "yes",
        },
        "route set --https=only --no-verify --one-per-recipient -- b.test mx.b.test",
    ),
    ("route-unset", {"domain": "b.test"}, "route remove -- b.test"),
    ("endpoints-forget", {"domain": "[192.0.2.1]"}, "endpoints forget -- [192.0.2.1]"),
    ("block-add", {"entry": "192.0.2.0/24", "note": "--yes"}, "block add --note=--yes -- 192.0.2.0/24"),
    ("block-remove", {"entry": ".spam.test"}, "block remove -- .spam.test"),
    ("federation-open", {}, "federation open"),
    ("federation-closed", {}, "federation closed"),
    ("federation-add", {"domain": ".f.test"}, "federation add -- .f.test"),
    ("federation-remove", {"domain": "f.test"}, "federation remove -- f.test"),
    ("queue-flush", {"domain": ""}, "queue flush"),
    ("queue-flush", {"domain": "b.test"}, "queue flush -- b.test"),
    ("queue-retry", {"id": QUEUE_ID}, f"queue flush --id={QUEUE_ID}"),
    ("queue-hold", {"id": QUEUE_ID}, f"queue hold -- {QUEUE_ID}"),
    ("queue-release", {"id": QUEUE_ID}, f"queue release -- {QUEUE_ID}"),
    ("queue-delete", {"id": QUEUE_ID}, f"queue delete --yes -- {QUEUE_ID}"),
    ("account-suspend", {"address": "Alice000@a.test"}, "account suspend -- alice000@a.test"),
    ("account-resume", {"address": "alice000@a.test"}, "account resume -- alice000@a.test"),
    ("account-delete", {"address": "alice000@a.test"}, "account delete -- alice000@a.test"),
    ("token-create", {"uses": "", "expires": ""}, "token create"),
    ("token-create", {"uses": "3", "expires": "12h"}, "token create --uses=3 --expires=12h"),
    ("token-revoke", {"token": "0123abcd"}, "token remove -- 0123abcd"),
    ("queue", {}, "queue --json"),
    ("trace", {"id": QUEUE_ID, "since": "90s"}, f"trace --json --since=90s -- {QUEUE_ID}"),
    ("doctor", {}, "doctor --json"),
    ("services", {}, "doctor --only services --json"),
]
# What each field must refuse, whatever the order: options, other lines, shells, SQL, other's syntax.
HOSTILE = (
    "--all", "-r", "a b", "x\ny", "x\x00y", "$(id)", "`id`", "a;b", "../x", "' OR 1=1", "x" * 2000, "\u202ex",
)  # fmt: skip


@pytest.mark.parametrize(("name", "values", "words"), GOOD, ids=lambda one: str(one)[:30])
def test_words_of_an_order(name: str, values: dict[str, str], words: str) -> None:
    assert orders.words(name, values) == words.split(" ")


def test_each_order_is_a_command_of_chatmailctl() -> None:
    assert {name for name, _, _ in GOOD} == orders.ORDERS.keys()
    for _, _, words in GOOD:
        command: Any = main
        rest = words.split(" ")
        while isinstance(command, click.Group) and not rest[0].startswith("--"):
            command = command.get_command(click.Context(command), rest.pop(0))
        # Not invoked: that would open the store.
        options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        given = [one for one in rest if one.startswith("--") and one != "--"]
        assert {one.partition("=")[0] for one in given if one not in ("--note=--yes",)} <= options


@pytest.mark.parametrize("name", [name for name, values, _ in GOOD if values])
def test_a_hostile_value_names_its_field(name: str) -> None:
    values = next(values for order, values, _ in GOOD if order == name and all(values.values()))
    for field in values:
        for hostile in HOSTILE:
            # A note may be any line.
            if field != "note" or not hostile.isprintable() or len(hostile) > 200:
                with pytest.raises(orders.ValueOfFieldError) as caught:
                    orders.words(name, {**values, field: hostile})
                assert caught.value.field == field, hostile


def test_what_must_be_there_is_missed() -> None:
    for name in ("route-set", "block-add", "queue-delete", "account-delete", "token-revoke"):
        with pytest.raises(orders.ValueOfFieldError, match="is missing"):
            orders.words(name, {})


def test_a_field_too_many_is_refused() -> None:
    with pytest.raises(orders.ValueOfFieldError) as caught:
        orders.words("queue-flush", {"all": "yes"})
    assert caught.value.field == "all"


def test_there_is_no_other_order() -> None:
    for name in ("", "config", "queue-flush ", "account-create", "__class__"):
        with pytest.raises(orders.UnknownOrderError):
            orders.words(name, {})


def asked(line: bytes) -> dict[str, Any]:
    """What the program answers to a line."""
    to = io.BytesIO()
    order_daemon.answer(io.BytesIO(line), to)
    (said,) = to.getvalue().splitlines()
    found: dict[str, Any] = json.loads(said)
    return found


class TestProgram:
    @pytest.mark.parametrize(
        "line",
        [
            b"", b"\n", b"[]", b"null", b"{}", b"\xff\n", b'{"order": "doctor"}',
            b'{"order": 1, "values": {}}',
            b'{"order": "queue-hold", "values": {"id": 1}}', b'{"order": "queue-hold", "values": ["id"]}',
            b'{"order": "none", "values": {}}',
            b'{"order": "queue-flush", "values": {}' + b" " * 20000 + b"}",
        ],
    )  # fmt: skip
    def test_a_question_that_it_can_t_read_does_nothing(
        self, line: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(order_daemon, "run", pytest.fail)
        assert asked(line)["status"] == 64

    def test_it_trusts_no_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(order_daemon, "run", pytest.fail)
        line = json.dumps({"order": "queue-delete", "values": {"id": "ALL --config_dir"}}).encode()
        assert asked(line)["field"] == "id"

    def test_it_does_what_chatmailctl_does(self, store: str) -> None:
        line = json.dumps({"order": "block-add", "values": {"entry": "Spam.test", "note": "so"}}).encode()
        said = asked(line)
        assert (said["status"], said["out"]) == (0, "Added 1 entry.\n")
        assert [one["entry"] for one in chatmailctl.rows("block", "list")] == ["spam.test"]
        again = asked(json.dumps({"order": "route-unset", "values": {"domain": "b.test"}}).encode())
        assert again["status"] == 1
        assert again["err"].startswith("Error: see `chatmailctl route list`")


class Answering:
    """A socket that answers one question with what it is given."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._answer = answer
        self.asked = b""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as file:
            self.asked = file.read()
            connection.sendall(self._answer)
        self._server.close()


class TestAsking:
    def test_what_became_of_it(self, tmp_path: Path) -> None:
        path = tmp_path / "orders"
        other = Answering(path, b'{"status": 1, "out": "o", "err": "e"}\n')
        assert Orders(path)("queue-flush", {"domain": "b.test"}) == Done(1, "o", "e")
        assert json.loads(other.asked) == {"order": "queue-flush", "values": {"domain": "b.test"}}

    def test_a_wrong_value_is_a_422(self, tmp_path: Path) -> None:
        path = tmp_path / "orders"
        Answering(path, b'{"field": "id", "why": "is no queue ID"}\n')
        with pytest.raises(ProblemError) as caught:
            Orders(path)("queue-hold", {"id": "x"})
        assert (caught.value.status_code, caught.value.field) == (422, "id")

    @pytest.mark.parametrize("answer", [b"", b"no JSON\n", None])
    def test_nobody_who_answers(self, tmp_path: Path, answer: bytes | None) -> None:
        path = tmp_path / "orders"
        if answer is not None:
            Answering(path, answer)
        with pytest.raises(AwayError):
            Orders(path)("doctor", {})


def value(snapshot: Snapshot[Any]) -> Any:
    """What it shows."""
    found = snapshot.get()
    assert found is not None
    return found.value


class SlowLook:
    """Computes a value that has changed before it is there."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self.may_end.wait(10)
        return "before the change"


class TestSnapshot:
    def test_one_look_serves_all_until_it_is_old(self) -> None:
        now, looks = [0.0], []

        def look() -> int:
            looks.append(1)
            return len(looks)

        snapshot = Snapshot(look, 5.0, clock=lambda: now[0])
        for at, seen in ((0.0, 1), (4.9, 1), (5.0, 2)):
            now[0] = at
            assert value(snapshot) == seen

    def test_the_last_look_is_shown_while_a_newer_one_takes_its_time(self) -> None:
        now, may_end = [0.0], threading.Event()
        values: Iterator[Callable[[], object]] = iter(
            [lambda: "first", lambda: may_end.wait(10) and "second"]
        )
        snapshot: Snapshot[object] = Snapshot(lambda: next(values)(), 5.0, clock=lambda: now[0])
        assert value(snapshot) == "first"
        now[0] = 6.0
        assert value(snapshot) == "first"
        may_end.set()
        until("the second look is there", lambda: value(snapshot) == "second", 10, every=0.01)

    def test_what_was_dropped_is_not_shown_again(self) -> None:
        look = SlowLook()
        values: Iterator[Callable[[], str]] = iter([look, lambda: "after it"])
        snapshot: Snapshot[str] = Snapshot(lambda: next(values)(), 5.0, first=0.0)
        assert snapshot.get() is None
        assert look.begun.wait(10)
        snapshot.drop()
        until("it is looked at anew", lambda: snapshot.get() is not None, 10, every=0.01)
        look.may_end.set()
        assert value(snapshot) == "after it"

    def test_who_waits_for_what_was_dropped_gets_the_next(self) -> None:
        look = SlowLook()
        values: Iterator[Callable[[], str]] = iter([look, lambda: "after it"])
        snapshot: Snapshot[str] = Snapshot(lambda: next(values)(), 5.0, first=3.0)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(value, snapshot)
            assert look.begun.wait(10)
            snapshot.drop()
            assert waiting.result(10) == "after it"
            look.may_end.set()

    def test_a_look_that_fails_says_why_until_one_does_not(self) -> None:
        now = [0.0]
        values: Iterator[Callable[[], float]] = iter([lambda: 1 / 0, lambda: 2.0])
        snapshot: Snapshot[float] = Snapshot(lambda: next(values)(), 5.0, clock=lambda: now[0])
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                snapshot.get()
        now[0] = 5.0
        assert value(snapshot) == 2.0
