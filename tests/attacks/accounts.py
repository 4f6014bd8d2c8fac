"""Accounts that one address makes by first logins, as many as the relay lets it."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.attacks import strangers
from tests.attacks.trial import Attack, AttackScene
from tests.chat import settings
from tests.chat.deadline import until
from tests.chat.person import fresh_address, fresh_password
from tests.chat.smtp import any_certificate

# What one address may make in a minute, and as many at once: fewer than the lab's own 600, which a busy
# machine does not come to, and more than the probes ask for.
_PER_MINUTE = 240
_TIMEOUT = 60.0


@contextmanager
def first_logins(scene: AttackScene) -> Iterator[str]:
    """8 workers log in to a new address each time."""
    [source] = scene.ipv4(1)
    said: Counter[str] = Counter()
    began = time.monotonic()

    def login(_: int) -> None:
        with (
            socket.create_connection((scene.host.ip, 993), _TIMEOUT, source_address=(source, 0)) as plain,
            any_certificate().wrap_socket(plain) as session,
            session.makefile("rb") as replies,
        ):
            replies.readline()
            words = f"a LOGIN {fresh_address(scene.host.domain)} {fresh_password()}\r\n"
            session.sendall(words.encode())
            for line in replies:
                if line.startswith(b"a "):
                    said[line.split()[1].decode()] += 1
                    return

    with (
        settings.changed(scene.host, "new_per_minute", str(_PER_MINUTE)),
        strangers.flooding(login, 8, 4000),
    ):
        until("the relay makes no more accounts", lambda: said["NO"], 120)
        yield f"{said['OK']} accounts in {time.monotonic() - began:.0f} s"
    minutes = (time.monotonic() - began) / 60
    assert said["OK"] <= _PER_MINUTE * (minutes + 1), f"{said} in {minutes:.1f} minutes"


ATTACKS = (Attack("first logins on 993, one address", first_logins),)
