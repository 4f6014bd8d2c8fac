"""`chatmail-wake` pokes the mailbox of each reported delivery twice, and no other mailbox."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import pytest

from mxdeliv_app.dovecot import wake
from mxdeliv_app.dovecot.wake import Waker, inbox


@pytest.mark.parametrize(
    "user", ["", "nobody", "../../x@_a.lab", "a/../b@_a.lab", "x@../y", "U12345678@_a.lab", "x@_a.lab\n"]
)
def test_what_is_no_canonical_address_leads_nowhere(user: str) -> None:
    assert inbox(Path("/mail"), user) is None


def test_mailbox_is_stirred_after_each_delay_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stirred: queue.Queue[tuple[float, Path]] = queue.Queue()
    stir = wake.poke_maildir

    def stir_and_tell(directory: Path) -> None:
        stir(directory)
        stirred.put((time.monotonic(), directory))

    monkeypatch.setattr(wake, "poke_maildir", stir_and_tell)
    new = tmp_path / "_a.lab" / "u12345678" / "Maildir" / "new"
    new.mkdir(parents=True)
    before = new.stat().st_mtime_ns
    waker = Waker(tmp_path, delays=(0.01, 0.05))
    waker.delivered("gone56789@_a.lab")
    began = time.monotonic()
    waker.delivered("u12345678@_a.lab")
    for delay in (0.01, 0.05):
        at, directory = stirred.get(timeout=120)
        assert at >= began + delay
        assert directory == new
    assert stirred.empty()
    assert new.stat().st_mtime_ns > before
    assert list(new.iterdir()) == []


def test_first_time_is_after_dovecot_put_the_client_to_sleep_and_the_last_after_it_forgot() -> None:
    # imap_hibernate_timeout, which Dovecot takes times 1000 in 32 bits, and mailbox-watch.c's delay.
    asleep, forgotten = 42949673 * 1000 % (1 << 32) / 1000, 0.5
    first, last = wake.DELAYS
    assert asleep < first < 2 * asleep
    assert last > forgotten
