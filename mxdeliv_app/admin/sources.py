"""The sources of the pages: store, queue, doctor and orders. If one fails, the others still work.

The store is opened only for reading, because `chatmailctl` makes all changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Engine, event

from chatmail_milter.config import Config
from chatmail_milter.ctl.postqueue import QueueEntry
from chatmail_milter.figures import accounts, overview, peers
from chatmail_milter.figures.accounts import AccountFigures
from chatmail_milter.figures.overview import Overview
from chatmail_milter.figures.peers import PeerFigures
from chatmail_milter.figures.traffic import SPANS
from chatmail_milter.figures.waiting import QueueAwayError, queue
from chatmail_milter.lazy import once
from chatmail_milter.store.engine import existing_store
from mxdeliv_app.admin.data import TracedWay
from mxdeliv_app.admin.order_client import AwayError, Done
from mxdeliv_app.admin.snapshot import Look, Snapshot

# Seconds for which a look is fresh.
_FIGURES, _SERVICES, _DOCTOR = 5.0, 15.0, 600.0
# A message that was handed back for SMTP arrived before with another queue ID.
_BEFORE = timedelta(hours=1)
# Longer than a queue of ten thousand takes; then a page says that Postfix has not answered.
_QUEUE_PATIENCE = 10.0

GiveOrder = Callable[[str, dict[str, str]], Done]
Findings = list[dict[str, str]]


class _Traced(msgspec.Struct):
    messages: list[TracedWay]


@dataclass(frozen=True, slots=True)
class Outside:
    """Interfaces to other processes; tests pass others."""

    store: Callable[[], Engine]
    queue: Callable[[], Sequence[QueueEntry]]
    order: GiveOrder


def outside(config: Config, order: GiveOrder) -> Outside:
    """The interfaces of this host."""

    def opened() -> Engine:
        engine = existing_store(config.store.url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _read_only)
            # The connections that opening made may write.
            engine.dispose()
        return engine

    return Outside(once(opened), lambda: _queue(order), order)


class Sources:
    """All sources."""

    def __init__(self, config: Config, out: Outside) -> None:
        self.config = config
        self.store = out.store
        self._order = out.order
        # An order is a process, which takes longer to start than a page waits for a newer look.
        self.queue: Snapshot[Sequence[QueueEntry]] = Snapshot(out.queue, _FIGURES, _QUEUE_PATIENCE, soon=0.0)
        self.peers: Snapshot[list[PeerFigures]] = Snapshot(self._peers, _FIGURES)
        self.overviews: dict[str, Snapshot[Overview]] = {
            name: Snapshot(lambda name=name: self._overview(name), _FIGURES)  # type: ignore[misc]
            for name in SPANS
        }
        # Counting a hundred thousand accounts takes longer than to list a page of them.
        self.accounts: Snapshot[AccountFigures] = Snapshot(
            lambda: accounts.count(self.store(), datetime.now(UTC).date()), _FIGURES
        )
        # The page does not wait for these: doctor asks DNS and tries each door.
        self.services: Snapshot[Findings] = Snapshot(
            lambda: self._findings("services"), _SERVICES, 0.1, soon=0.0
        )
        self.doctor: Snapshot[Findings] = Snapshot(lambda: self._findings("doctor"), _DOCTOR, 0.1, soon=0.0)

    def order(self, name: str, values: dict[str, str]) -> Done:
        """Executes an order, and discards the cached values that it may have changed."""
        try:
            return self._order(name, values)
        finally:
            # A large queue takes a second to list: the next page waits for that only after an order on it.
            if name.startswith("queue-"):
                self.queue.drop()
            self.peers.drop()
            self.accounts.drop()
            self.services.drop()
            for one in self.overviews.values():
                one.drop()

    def messages(self) -> Sequence[QueueEntry]:
        """The queue. Raises `QueueAwayError`."""
        found = self.queue.get()
        if found is None:
            raise QueueAwayError("wait a moment: Postfix has not answered yet")
        return found.value

    def way(self, message: QueueEntry) -> TracedWay | None:
        """The way of a message so far; None if the journal has nothing of it. Raises `AwayError`."""
        age = datetime.now(UTC) - message.arrived + _BEFORE
        done = self._order("trace", {"id": message.queue_id, "since": f"{max(age.total_seconds(), 1):.0f}s"})
        try:
            found = msgspec.json.decode(done.out, type=_Traced)
        except msgspec.DecodeError:
            raise AwayError(done.err.removeprefix("Error: ").strip()[-200:]) from None
        return next(iter(found.messages), None)

    def findings(self, which: Snapshot[Findings]) -> tuple[Look[Findings] | None, str]:
        """The findings, or why there are none."""
        try:
            found = which.get()
        except AwayError as error:
            return None, str(error)
        return found, "" if found else "The check is in progress."

    def _overview(self, span: str) -> Overview:
        return overview.overview(self.config, self.store, self.messages, SPANS[span], datetime.now(UTC))

    def _peers(self) -> list[PeerFigures]:
        try:
            waiting = {one.domain: one.messages for one in queue(self.messages()).destinations}
        except QueueAwayError:
            waiting = None
        return peers.peers(self.store(), waiting, datetime.now(UTC))

    def _findings(self, order: str) -> Findings:
        done = self._order(order, {})
        try:
            found: Findings = json.loads(done.out)
        except ValueError:
            raise AwayError(f"doctor has said: {done.err.strip()[-200:]}") from None
        return found


def _queue(order: GiveOrder) -> Sequence[QueueEntry]:
    # Not postqueue(1) itself: whoever may ask Postfix what waits may give it mail as well.
    try:
        done = order("queue", {})
        if done.status:
            raise QueueAwayError(done.err.removeprefix("Error: ").strip()[-200:])
        return msgspec.json.decode(done.out, type=list[QueueEntry])
    except (AwayError, msgspec.DecodeError) as error:
        raise QueueAwayError(str(error)) from None


def _read_only(connection: Any, _record: object) -> None:
    # https://www.sqlite.org/pragma.html#pragma_query_only
    connection.execute("PRAGMA query_only = ON")
