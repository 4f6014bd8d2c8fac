"""`chatmailctl queue`: deferred messages with reasons, and retries. A script is in place of `postqueue`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from tests.unit.chatmailctl import rows, run

pytestmark = pytest.mark.usefixtures("store")
REFUSED = "connect to b.test[192.0.2.1]:25: Connection refused"


def message(queue_id: str, *recipients: str, queue: str = "deferred", age: int = 300) -> dict[str, Any]:
    # Not when the tests were collected: that was minutes ago.
    arrived = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "queue_name": queue,
        "queue_id": queue_id,
        "arrival_time": int(arrived.timestamp()),
        "message_size": 1234,
        "forced_expire": False,
        "sender": "u@a.test",
        "recipients": [{"address": one, "delay_reason": REFUSED} for one in recipients],
    }


def write(postqueue: Path, *messages: dict[str, Any]) -> None:
    postqueue.write_text("".join(json.dumps(one) + "\n" for one in messages))


def hurried(postqueue: Path) -> list[str]:
    file = postqueue.with_suffix(".hurried")
    return sorted(file.read_text().split()) if file.exists() else []


@pytest.mark.parametrize("words", [["queue"], ["queue", "list"]])
def test_what_waits_and_why(postqueue: Path, words: list[str]) -> None:
    waiting = message("4BkX7d2wPz", "x@b.test", "y@b.test", "z@c.test")
    del waiting["recipients"][2]["delay_reason"]
    write(postqueue, waiting, message("OLDER", age=360))
    first, second = rows(*words)
    assert first["queue_id"] == "OLDER"
    assert (second["queue"], second["sender"], second["size"]) == ("deferred", "u@a.test", 1234)
    assert second["recipients"] == ["x@b.test", "y@b.test", "z@c.test"]
    assert second["domains"] == ["b.test", "c.test"]
    assert second["reasons"] == [REFUSED]
    table = run(*words).output
    assert "5 min ago" in table
    assert "Connection refused" in table


def test_empty(postqueue: Path) -> None:
    assert rows("queue") == []
    assert run("queue").output == "The queue is empty.\n"


def test_postfix_that_does_not_run(postqueue: Path) -> None:
    postqueue.with_suffix("").write_text("#!/bin/sh\necho 'postqueue: fatal: down' >&2; exit 69\n")
    for words in (["queue"], ["queue", "flush"]):
        result = run(*words)
        assert result.exit_code == 1
        assert result.output.startswith("Error: check that Postfix is running: ")


def test_a_peers_words_do_nothing_to_the_terminal(postqueue: Path) -> None:
    waiting = message("A", "x@b.test")
    waiting["recipients"][0]["delay_reason"] = "host said: 450 \x1b]0;owned\x07\x1b[2J\u202e later"
    write(postqueue, waiting)
    assert "450 ]0;owned [2J later" in run("queue").output


class TestFlush:
    def test_all_that_is_deferred_for_a_domain_and_nothing_else(self, postqueue: Path) -> None:
        write(
            postqueue,
            message("A", "x@b.test"),
            message("B", "x@c.test", "X@B.Test"),
            message("C", "x@c.test"),
            message("D", "x@b.test", queue="active"),
            message("E", "x@b.test", queue="hold"),
            message("F", "x@sub.b.test"),
        )
        assert run("queue", "flush", "B.test").output == "Retrying 2 messages for b.test.\n"
        assert hurried(postqueue) == ["A", "B"]

    def test_everything(self, postqueue: Path) -> None:
        write(postqueue, message("A", "x@b.test"), message("C", "x@c.test", queue="hold"))
        assert run("queue", "flush").output == "Retrying 1 message.\n"
        assert hurried(postqueue) == ["A"]

    def test_one_message(self, postqueue: Path, store: str) -> None:
        endpoints = Endpoints(open_store(store))
        for domain in ("b.test", "c.test"):
            endpoints.failed(domain, "connect", datetime.now(UTC), None)
        write(postqueue, message("AAAA1", "x@b.test"), message("AAAA2", "x@b.test"))
        assert run("queue", "flush", "--id", "AAAA2").output == "Retrying 1 message.\n"
        assert hurried(postqueue) == ["AAAA2"]
        assert [one.domain for one in endpoints.list() if one.marked(datetime.now(UTC))] == ["c.test"]

    def test_one_that_is_not_there_or_held(self, postqueue: Path) -> None:
        write(postqueue, message("AAAA1", "x@b.test"), message("AAAA2", "x@b.test", queue="hold"))
        assert run("queue", "flush", "--id", "AAAA2").output == "Nothing is deferred.\n"
        missing = run("queue", "flush", "--id", "BBBB1")
        assert (missing.exit_code, "no message BBBB1 is in the queue" in missing.output) == (1, True)
        assert hurried(postqueue) == []

    def test_one_that_has_left_does_not_keep_the_others_waiting(self, postqueue: Path) -> None:
        write(postqueue, message("AAAA1", "x@b.test"))
        result = run("queue", "flush", "--id", "BBBB1", "--id", "AAAA1")
        assert result.exit_code == 0
        assert result.output == "No longer in the queue: BBBB1.\nRetrying 1 message.\n"
        assert hurried(postqueue) == ["AAAA1"]

    def test_ip_literals(self, postqueue: Path) -> None:
        write(postqueue, message("A", "x@[192.0.2.1]"))
        assert run("queue", "flush", "192.0.2.1").output == "Retrying 1 message for [192.0.2.1].\n"

    def test_nothing_waits(self, postqueue: Path) -> None:
        write(postqueue, message("A", "x@b.test", queue="active"))
        assert run("queue", "flush", "b.test").output == "Nothing is deferred for b.test.\n"
        assert run("queue", "flush").output == "Nothing is deferred.\n"
        assert hurried(postqueue) == []

    def test_https_is_tried_again_too_and_the_count_of_failures_stays(
        self, postqueue: Path, store: str
    ) -> None:
        endpoints, now = Endpoints(open_store(store)), datetime.now(UTC)
        for domain in ("b.test", "c.test", "d.test"):
            endpoints.failed(domain, "connect", now, None)
        write(postqueue, message("A", "x@c.test"))
        run("queue", "flush", "b.test")
        assert [one.domain for one in endpoints.list() if one.marked(now)] == ["c.test", "d.test"]
        run("queue", "flush")
        assert [one.domain for one in endpoints.list() if one.marked(now)] == ["d.test"]
        assert [one.failures for one in endpoints.list()] == [1, 1, 1]

    @pytest.mark.parametrize(
        "words",
        [
            ["b..test"],
            ["x@b.test"],
            ["--all"],
            ["b.test", "c.test"],
            ["-i"],
            ["--id", "-r"],
            ["b.test", "--id", "AAAA1"],
        ],
    )
    def test_bad_input(self, postqueue: Path, words: list[str]) -> None:
        write(postqueue, message("A", "x@b.test"))
        assert run("queue", "flush", *words).exit_code == 2
        assert hurried(postqueue) == []

    def test_json_belongs_to_the_list(self, postqueue: Path) -> None:
        assert run("queue", "--json", "flush").exit_code == 2


def ordered(postqueue: Path) -> list[str]:
    file = postqueue.with_suffix(".ordered")
    return file.read_text().splitlines() if file.exists() else []


class TestOrders:
    @pytest.fixture(autouse=True)
    def waiting(self, postqueue: Path) -> None:
        write(
            postqueue,
            message("AAAA1", "x@b.test", age=3),
            message("BBBB2", "y@b.test", "z@c.test", age=2),
            message("CCCC3", "y@c.test", queue="hold", age=1),
        )

    @pytest.mark.parametrize(
        ("words", "told", "said"),
        [
            (["hold", "AAAA1"], "-h AAAA1", "Held 1 message."),
            (["hold", "--domain", "c.test"], "-h BBBB2", "Held 1 message."),
            (["release", "CCCC3"], "-H CCCC3", "Released 1 message."),
            (["release", "--domain", "c.test"], "-H CCCC3", "Released 1 message."),
            (["delete", "AAAA1", "CCCC3", "AAAA1", "--yes"], "-d AAAA1 CCCC3", "Deleted 2 messages."),
            (["delete", "--domain", "B.test", "--yes"], "-d AAAA1 BBBB2", "Deleted 2 messages."),
        ],
    )
    def test_messages_by_id_or_by_domain(
        self, postqueue: Path, words: list[str], told: str, said: str
    ) -> None:
        result = run("queue", *words)
        assert (result.exit_code, result.output) == (0, f"{said}\n")
        assert ordered(postqueue) == [told]

    @pytest.mark.parametrize(
        "words", [["hold", "CCCC3"], ["release", "AAAA1"], ["delete", "--domain", "d.test"]]
    )
    def test_what_is_so_already_is_no_error(self, postqueue: Path, words: list[str]) -> None:
        result = run("queue", *words)
        assert (result.exit_code, result.output) == (0, f"There is no message to {words[0]}.\n")
        assert ordered(postqueue) == []

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["hold"], 2, "name queue IDs, or a domain with --domain"),
            (["delete", "AAAA1", "--domain", "b.test"], 2, "name queue IDs"),
            (["hold", "AAAA1", "-x"], 2, "No such option"),
            (["delete", "ALL", "--yes"], 2, "is no queue ID"),
            (["hold", "A;rm -r"], 2, "is no queue ID"),
            (["delete", "DDDD4", "EEEE5", "--yes"], 1, "no message DDDD4, EEEE5 is in the queue"),
            (["show", "DDDD4"], 1, "no message DDDD4 is in the queue"),
        ],
    )
    def test_a_mistake_does_nothing(self, postqueue: Path, words: list[str], status: int, said: str) -> None:
        result = run("queue", *words)
        assert result.exit_code == status
        assert said in result.output
        assert ordered(postqueue) == []

    @pytest.mark.parametrize(
        ("words", "told", "said"),
        [
            (["hold"], "-h AAAA1 BBBB2", "Held"),
            (["delete", "--yes"], "-d AAAA1 BBBB2", "Deleted"),
        ],
    )
    def test_a_message_that_has_left_is_said_and_the_others_are_done(
        self, postqueue: Path, words: list[str], told: str, said: str
    ) -> None:
        result = run("queue", *words, "AAAA1", "DDDD4", "BBBB2", "DDDD4")
        assert result.exit_code == 0
        assert result.output == f"No longer in the queue: DDDD4.\n{said} 2 messages.\n"
        assert ordered(postqueue) == [told]

    @pytest.mark.parametrize(
        ("words", "left", "said"),
        [
            (["hold", "--domain", "b.test"], "BBBB2", "Held 1 message."),
            (["delete", "--domain", "b.test", "--yes"], "BBBB2", "Deleted 1 message."),
            (["release", "CCCC3"], "CCCC3", "There is no message to release."),
        ],
    )
    def test_one_that_leaves_after_it_was_listed_is_not_counted(
        self, postqueue: Path, words: list[str], left: str, said: str
    ) -> None:
        """Postfix takes any queue ID, and says how many it found."""
        postqueue.with_suffix(".left").write_text(f"{left}\n")
        result = run("queue", *words)
        assert (result.exit_code, result.output) == (0, f"{said}\n")
        assert len(ordered(postqueue)) == 1

    def test_nothing_is_deleted_without_a_yes(self, postqueue: Path) -> None:
        # Without a terminal nobody is asked: a script would wait for ever.
        result = run("queue", "delete", "AAAA1")
        assert result.exit_code == 2
        assert "add --yes to confirm: Delete 1 message, for good" in result.output
        assert ordered(postqueue) == []

    def test_one_message_is_shown_whole(self) -> None:
        shown = run("queue", "show", "BBBB2").output
        assert all(words in shown for words in ("u@a.test", "y@b.test", "z@c.test", "1234 B", REFUSED))
        assert rows("queue", "show", "BBBB2")["recipients"] == ["y@b.test", "z@c.test"]

    def test_the_list_ends_with_a_total_and_cuts_no_id(
        self, postqueue: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(postqueue, message("4jcnQD5NFyz15JNb", "somebody-with-a-long-name@a-long-domain.example"))
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setattr("chatmail_milter.ctl.output._WIDE", 60)
        said = run("queue").output
        assert "4jcnQD5NFyz15JNb" in said
        assert "…" not in said
        assert said.endswith("In all: 1 message, 1234 B.\n")
