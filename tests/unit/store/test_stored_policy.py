"""The cached policy: a change is in force when the call returns; an unchanged store is not read again."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.rules.policy import OPEN, Federation
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.policies import Block, Blocks, Federations, Policies, Suspensions
from chatmail_milter.store.tables import metadata
from chatmail_milter.verdict import Action
from tests.unit.clock import Clock

ALICE, BOB = "alice123@a.example", "bob12345@a.example"
MONDAY = date(2026, 3, 2)
LEASE = 0.05


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


class TestSnapshot:
    def test_a_fresh_store_lets_everybody_by(self, engine: Engine) -> None:
        assert Policies(engine).current() == OPEN

    def test_all_that_was_decided_is_in_it(self, engine: Engine) -> None:
        Blocks(engine).add(["spam.example", "192.0.2.0/24"])
        Federations(engine).set_rule("closed")
        Federations(engine).add(["peer.example"])
        Suspensions(engine).suspend(ALICE)
        policy = Policies(engine).current()
        assert policy.blocklist.has_domain("spam.example")
        assert policy.blocklist.has_peer(ipaddress.ip_address("192.0.2.7"))
        assert policy.federation == Federation("closed", frozenset({"peer.example"}))
        assert policy.suspended == {ALICE}

    @pytest.mark.parametrize(
        "change",
        [
            lambda engine: Blocks(engine).add(["spam.example"]),
            lambda engine: Blocks(engine).remove(["old.example"]),
            lambda engine: Federations(engine).set_rule("closed"),
            lambda engine: Federations(engine).add(["peer.example"]),
            lambda engine: Federations(engine).remove(["old.example"]),
            lambda engine: Suspensions(engine).suspend(ALICE),
            lambda engine: Suspensions(engine).resume(BOB),
        ],
    )
    def test_every_change_is_seen_by_who_held_an_older_one(
        self, engine: Engine, url: str, change: Callable[[Engine], object]
    ) -> None:
        Blocks(engine).add(["old.example"])
        Federations(engine).add(["old.example"])
        Suspensions(engine).suspend(BOB)
        policies = Policies(engine)
        before = policies.current()
        change(open_store(url))
        assert policies.current() != before

    def test_while_it_is_held_the_store_is_not_asked(self, engine: Engine) -> None:
        clock = Clock()
        policies = Policies(engine, clock)
        held = policies.current()
        with statements(engine) as asked:
            clock.now += LEASE * 0.99
            assert all(policies.current() is held for _ in range(1000))
        assert asked == []

    def test_then_one_row_is_read_and_nothing_else_as_long_as_nothing_changed(self, engine: Engine) -> None:
        Blocks(engine).add(["spam.example"])
        clock = Clock()
        policies = Policies(engine, clock)
        held = policies.current()
        for _ in range(3):
            clock.now += LEASE
            with statements(engine) as asked:
                assert policies.current() is held
            assert len(asked) == 1
            assert "policy" in asked[0]

    def test_a_store_that_can_not_be_read_is_an_error_each_time_and_no_policy(self, engine: Engine) -> None:
        clock = Clock()
        policies = Policies(engine, clock)
        policies.current()
        metadata.drop_all(engine)
        clock.now += LEASE
        for _ in range(2):
            with pytest.raises(SQLAlchemyError):
                policies.current()
        metadata.create_all(engine)
        assert policies.current() == OPEN

    def test_threads_that_ask_together_read_once(self, engine: Engine) -> None:
        Blocks(engine).add(["spam.example"])
        policies = Policies(engine, Clock())
        barrier = threading.Barrier(8)

        def ask(_: int) -> object:
            barrier.wait()
            return policies.current()

        with statements(engine) as asked, ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, range(8)))
        assert all(one is found[0] for one in found)
        assert sum("blocklist" in statement for statement in asked) == 1


class TestInForce:
    def test_when_a_change_returns_nobody_goes_by_an_older_policy(self, engine: Engine, url: str) -> None:
        # Read all the time on a connection of its own, as the milter does: its snapshot is as old as may be.
        policies = Policies(open_store(url))
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                policies.current()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for _ in range(10):
                Suspensions(engine).suspend(ALICE)
                assert policies.current().login(ALICE, None).action is Action.REJECT
                Suspensions(engine).resume(ALICE)
                assert policies.current().login(ALICE, None).action is Action.PASS
        finally:
            stop.set()
            reader.join()

    def test_changes_at_once_are_all_counted(self, engine: Engine, url: str) -> None:
        with ThreadPoolExecutor(6) as pool:
            new = list(pool.map(lambda i: Blocks(open_store(url)).add([f"d{i}.example"]), range(6)))
        assert new == [1] * 6
        assert len(Blocks(engine).list()) == 6
        with engine.connect() as connection:
            assert connection.execute(text("SELECT revision FROM policy")).scalar_one() == 6


class TestBlocks:
    def test_an_entry_is_kept_with_its_day_and_its_note(self, engine: Engine) -> None:
        blocks = Blocks(engine, today=lambda: MONDAY)
        assert blocks.add(["spam.example", "u@x.example", "spam.example"], note="because") == 2
        assert blocks.list() == (
            Block("spam.example", MONDAY, "because"),
            Block("u@x.example", MONDAY, "because"),
        )

    def test_adding_again_changes_nothing_but_the_note(self, engine: Engine) -> None:
        Blocks(engine, today=lambda: MONDAY).add(["spam.example"], note="because")
        later = Blocks(engine)
        assert later.add(["spam.example", "new.example"]) == 1
        assert later.list()[1] == Block("spam.example", MONDAY, "because")
        assert later.add(["spam.example"], note="so") == 0
        assert later.list()[1] == Block("spam.example", MONDAY, "so")

    def test_removing_says_how_many_there_were(self, engine: Engine) -> None:
        blocks = Blocks(engine)
        blocks.add(["a.example", "b.example"])
        assert blocks.remove(["a.example", "a.example", "c.example"]) == 1
        assert [one.entry for one in blocks.list()] == ["b.example"]

    def test_ten_thousand_are_added_and_read_by_as_few_statements_as_one(self, engine: Engine) -> None:
        with statements(engine) as for_one:
            assert Blocks(engine).add(["d.example"]) == 1
            assert Policies(engine).current().blocklist.has_domain("d.example")
        with statements(engine) as for_all:
            assert Blocks(engine).add(f"d{i}.example" for i in range(10_000)) == 10_000
            assert Policies(engine).current().blocklist.has_domain("d9999.example")
        assert len(for_all) == len(for_one) > 0


class TestFederations:
    def test_each_rule_has_its_own_exceptions(self, engine: Engine) -> None:
        federations = Federations(engine)
        assert federations.get() == Federation("open", frozenset())
        assert federations.add(["evil.example", "evil.example"]) == 1
        assert federations.add(["evil.example", "worse.example"]) == 1
        assert federations.set_rule("closed") == Federation("closed", frozenset())
        federations.add(["friend.example"])
        opened = federations.set_rule("open")
        assert opened == Federation("open", frozenset({"evil.example", "worse.example"}))
        assert federations.remove(["evil.example", "friend.example"]) == 1
        assert federations.get().exceptions == {"worse.example"}


class TestSuspensions:
    def test_an_address_is_suspended_once_and_resumed_once(self, engine: Engine) -> None:
        suspensions = Suspensions(engine, today=lambda: MONDAY)
        assert suspensions.suspend(ALICE)
        assert not suspensions.suspend(ALICE)
        assert suspensions.list() == {ALICE: MONDAY}
        assert suspensions.resume(ALICE)
        assert not suspensions.resume(ALICE)
        assert suspensions.list() == {}

    def test_deleting_the_account_does_not_let_it_back_in(self, engine: Engine) -> None:
        accounts, suspensions = Accounts(engine), Suspensions(engine)
        accounts.create(ALICE, "{X}")
        suspensions.suspend(ALICE)
        accounts.delete(ALICE)
        assert ALICE in suspensions.list()
