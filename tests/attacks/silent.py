"""Connections that say nothing, on every port: plain ones, and such that said no more than TLS does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from tests.attacks import strangers
from tests.attacks.trial import Attack, Scene

# What one host with one address, with one network and with a few of each can open.
EACH = 400


def silent(
    sources: Callable[[Scene], Sequence[str]], each: int, port: int, *, tls: bool = False
) -> Callable[[Scene], AbstractContextManager[str]]:
    """`each` connections from every source, kept."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[str]:
        with strangers.kept(sources(scene), each, scene.host, port, tls=tls) as tally:
            yield f"{tally.open} of {each * len(sources(scene))} open"

    return strike


ATTACKS = (
    Attack("silent on 25, 4 addresses", silent(lambda scene: scene.ipv4(4), EACH // 4, 25)),
    Attack("silent on 465, 2 addresses", silent(lambda scene: scene.ipv4(2), EACH, 465)),
    Attack("silent on 587, 2 addresses", silent(lambda scene: scene.ipv4(2), EACH, 587)),
)
