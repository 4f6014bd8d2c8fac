"""Sends due push notifications to the gateway, several at once, and retries failed ones with growing delays.

The queue is in the database, so a restart or crash loses nothing: a notification in progress is due again
after its lease. The log contains no addresses and no tokens.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store.push import DeviceTokens, Notice, Notices
from mxdeliv_app.push.gateway import NoticeOutcome, PushGateway

AT_ONCE = 8
# Least time between notifications of a token. The public gateway drops those within a second.
PAUSE = 2.0  # seconds
LONGEST_DELAY = 3600.0  # seconds
_GROWTH = 4
# How often to look for due rows without being notified: another host with the same database may have crashed.
_LOOK = 30.0  # seconds
_STORE_AWAY = 1.0  # seconds

_log = logging.getLogger(__name__)


def delay(tries: int, first: float, spread: float) -> float:
    """Seconds from failure number `tries` (from 1) to the next try. `spread`: 0 to 1, for ±20 % jitter."""
    plain: float = min(first * _GROWTH ** min(tries - 1, 20), LONGEST_DELAY)
    return plain * (0.8 + 0.4 * spread)


class NoticeSender:
    """Sends notifications. `connected`: whether an address is connected, and so needs no notification.

    `gateway`: makes a client, one per concurrent request. `lease`, `retry` (the first delay), `give_up`:
    seconds.
    """

    def __init__(
        self,
        notices: Notices,
        tokens: DeviceTokens,
        connected: Callable[[str], bool],
        gateway: Callable[[], PushGateway],
        *,
        lease: float,
        retry: float,
        give_up: float,
    ) -> None:
        self._notices = notices
        self._tokens = tokens
        self._connected = connected
        self._new_gateway = gateway
        self._lease = lease
        self._retry = retry
        self._give_up = give_up
        self._gateways: SimpleQueue[PushGateway] = SimpleQueue()
        self._chance = random.SystemRandom()
        self._notified = threading.Event()
        self._stopping = False
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._running = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Starts sending, in a thread."""
        self._running.start()

    def notify(self) -> None:
        """Signals that a new notification is due."""
        self._notified.set()

    def stop(self) -> None:
        """Starts no more requests, and waits for those in progress."""
        self._stopping = True
        self.notify()
        self._running.join()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._stopping:
            self._notified.clear()
            self._places.acquire()
            wait = _STORE_AWAY
            notice = None
            try:
                now = time.time()
                notice = self._notices.take(now, now + self._lease)
                if notice is None:
                    due = self._notices.next_due()
                    wait = _LOOK if due is None else min(max(due - now, 0.0), _LOOK)
            except SQLAlchemyError as error:
                _log.error("event=store-failed error=%s", type(error).__name__)
            if notice is not None:
                self._pool.submit(self._handle, notice)
            else:
                self._places.release()
                self._notified.wait(wait)

    def _handle(self, notice: Notice) -> None:
        try:
            self._settle(notice)
        except SQLAlchemyError as error:
            # The result could not be stored, so the row is due again when its lease ends.
            _log.error("event=store-failed error=%s", type(error).__name__)
        except Exception as error:
            # Not str(error), which might contain the token.
            _log.error("event=bug error=%s", type(error).__name__)
        finally:
            self._places.release()
            self.notify()

    def _settle(self, notice: Notice) -> None:
        if self._connected(notice.address):
            self._notices.settle(notice, time.time(), time.time())
            _log.info("event=notice outcome=connected")
            return
        outcome, reason = self._tell(notice.token)
        now, tries = time.time(), notice.tries + 1
        if outcome is NoticeOutcome.TOLD:
            self._notices.settle(notice, now, now + PAUSE)
        elif outcome is NoticeOutcome.GONE:
            # Also deletes its notifications.
            self._tokens.forget(notice.digest)
        elif now - notice.since < self._give_up:
            self._notices.put_off(notice, now + delay(tries, self._retry, self._chance.random()))
        else:
            self._notices.settle(notice, now, now)
            reason += ",given-up"
        _log.info("event=notice outcome=%s reason=%s tries=%d", outcome.value, reason, tries)

    def _tell(self, token: str) -> tuple[NoticeOutcome, str]:
        try:
            gateway = self._gateways.get_nowait()
        except Empty:
            gateway = self._new_gateway()
        try:
            return gateway.tell(token)
        finally:
            self._gateways.put(gateway)
