"""From the notices that are due to the gateway, several at once; what fails is tried again, later and later.

The queue is the store's, so that neither a restart nor a crash loses one: what was under way is due again
after its lease. Nobody is named in the log, and no token stands there.
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

from chatmail_milter.store.devicetokens import DeviceTokens
from chatmail_milter.store.notices import Notice, Notices
from mxdeliv_app.push.gateway import Gateway, NoticeOutcome

AT_ONCE = 8
# The public gateway tells a phone once a second at most, and drops what comes sooner.
PAUSE = 2.0  # seconds
LONGEST_DELAY = 3600.0  # seconds
_GROWTH = 4
# Another host that shares the store may have died with notices of its own.
_LOOK = 30.0  # seconds
_STORE_AWAY = 1.0  # seconds

_log = logging.getLogger(__name__)


def delay(tries: int, first: float, spread: float) -> float:
    """Seconds from a failure, the `tries`-th (from 1), to the next attempt; `spread`, 0 to 1, is ±20 %."""
    plain: float = min(first * _GROWTH ** min(tries - 1, 20), LONGEST_DELAY)
    return plain * (0.8 + 0.4 * spread)


class Sender:
    """Tells the gateway. `connected` says of an address whether its owner needs no notice just now."""

    def __init__(
        self,
        notices: Notices,
        tokens: DeviceTokens,
        connected: Callable[[str], bool],
        gateway: Callable[[], Gateway],
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
        self._gateways: SimpleQueue[Gateway] = SimpleQueue()
        self._chance = random.SystemRandom()
        self._notified = threading.Event()
        self._stopping = False
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._running = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Begin with what is due."""
        self._running.start()

    def notify(self) -> None:
        """There is something new."""
        self._notified.set()

    def stop(self) -> None:
        """Begin nothing new, and wait for what is under way."""
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
            # What became of it is not written down, so it is due again when its lease ends.
            _log.error("event=store-failed error=%s", type(error).__name__)
        except Exception as error:
            # Its message might hold the token.
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
            # Its notices go with it.
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
