"""Distributes messages to deliveries: one job per recipient domain, in parallel.

The event loop itself sends a small message over an open connection, and reads the answer. Worker threads do
everything that may block.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from chatmail_milter import codes
from chatmail_milter.verdict import Reply, Verdict
from mxdeliv_app.https.event_loop import WouldWaitError, at_once
from mxdeliv_app.relay.concurrency import DestinationConcurrency, SenderOrdering, Turn
from mxdeliv_app.relay.deliver import Delivery
from mxdeliv_app.relay.queued_message import Mode, QueuedMessage, Recipient

log = logging.getLogger(__name__)


class Dispatch:
    """The pool of workers. For one event loop."""

    def __init__(self, delivery: Delivery, workers: int, per_domain: int) -> None:
        self._delivery = delivery
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="deliver")
        # Past an open breaker mail goes back to Postfix at once.
        self._places = DestinationConcurrency(workers, per_domain, delivery.tools.breaker.is_open)
        self._turns = SenderOrdering()
        self._jobs = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    def refusal(self) -> Verdict | None:
        """Why no transaction may begin now, or None."""
        if self._stopping:
            return codes.STOPPING
        return codes.BUSY if self._jobs >= self._workers else None

    async def admit(self, sender: str, domain: str) -> Turn | Verdict:
        """Waits for the sender's turn, then takes a place for a delivery to `domain`, or returns why not."""
        turn = await self._turns.take(sender, domain)
        placed = False
        try:
            placed = await self._places.take(domain)
        finally:
            if not placed:
                self._turns.end(turn)
        return turn if placed else codes.BUSY_DOMAIN

    def leave(self, turns: Iterable[Turn]) -> None:
        """Ends turns and their places, because nothing more will be delivered."""
        for turn in turns:
            self._turns.end(turn)
            self._places.give_back(turn.domain)

    async def deliver(self, message: QueuedMessage, turns: Mapping[str, Turn], mode: Mode) -> list[Reply]:
        """Replies, one for each recipient, in order. The turn and place of a domain end with its delivery."""
        domains: dict[str, list[int]] = {}
        for index, recipient in enumerate(message.recipients):
            domains.setdefault(recipient.domain, []).append(index)
        replies = [codes.OUR_FAULT.said] * len(message.recipients)

        async def one(domain: str, indexes: list[int]) -> None:
            recipients = [message.recipients[index] for index in indexes]
            try:
                found = await self._job(message, recipients, mode)
            finally:
                self.leave([turns[domain]])
            for index, reply in zip(indexes, found, strict=True):
                replies[index] = reply

        if len(domains) == 1:  # nearly always, and a task costs
            await one(*next(iter(domains.items())))
        else:
            await asyncio.gather(*(one(domain, indexes) for domain, indexes in domains.items()))
        return replies

    async def _job(self, message: QueuedMessage, recipients: list[Recipient], mode: Mode) -> list[Reply]:
        self._jobs += 1
        self._idle.clear()
        try:
            begun = self._delivery.begin(message, recipients, mode)
            if begun is not None and await begun.wait():
                with suppress(WouldWaitError), at_once():
                    return self._delivery.deliver(message, recipients, mode, begun)
            loop = asyncio.get_running_loop()
            deliver = self._delivery.deliver
            return await loop.run_in_executor(self._pool, deliver, message, recipients, mode, begun)
        except Exception:
            log.exception("event=our-fault domain=%s queue=%s", recipients[0].domain, message.queue_id)
            return [codes.OUR_FAULT.said] * len(recipients)
        finally:
            self._jobs -= 1
            if not self._jobs:
                self._idle.set()

    async def stop(self, grace: float) -> None:
        """Begins no more deliveries, and waits up to `grace` seconds for the present ones."""
        self._stopping = True
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            log.warning("event=stopped-with-deliveries-under-way jobs=%d", self._jobs)
        self._pool.shutdown(wait=False, cancel_futures=True)
