"""The state of the relay on one page. A value that can't be read is None, and `missing` has the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.config import Config
from chatmail_milter.figures import accounts, traffic, waiting
from chatmail_milter.store import fault

QUEUE = Path("/var/spool/postfix")


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, with the first of the places on it as its name. Sizes in octets."""

    place: str
    size: int
    free: int
    used_share: float


def disks(places: Sequence[Path]) -> list[Disk]:
    """The file systems of `places`, each once. Places that can't be read are left out."""
    found: dict[int, Disk] = {}
    for place in places:
        try:
            device, disk = os.stat(place).st_dev, os.statvfs(place)
        except OSError:
            continue
        size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        found.setdefault(device, Disk(str(place), size, free, 1 - free / size if size else 0.0))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Overview:
    """The values. `missing`: names of fields that are None, and what to do about each."""

    domain: str
    at: datetime
    traffic: traffic.Traffic | None
    accounts: accounts.AccountFigures | None
    queue: waiting.Queue | None
    disks: list[Disk]
    missing: dict[str, str]


def overview(
    config: Config,
    store: Callable[[], Engine],
    queue: Callable[[], Sequence[waiting.Queued]],
    span: traffic.Span,
    now: datetime,
) -> Overview:
    """The relay `now`, its traffic over `span`.

    `store` may raise `SQLAlchemyError`, `queue` may raise `waiting.QueueAwayError`.
    """
    missing: dict[str, str] = {}
    of_traffic = of_accounts = of_queue = None
    try:
        engine = store()
        of_traffic = traffic.relay(engine, span, now)
        of_accounts = accounts.count(engine, now.date())
    except SQLAlchemyError as error:
        missing |= dict.fromkeys(("traffic", "accounts"), fault.explained(error).advice)
    try:
        of_queue = waiting.queue(queue())
    except waiting.QueueAwayError as error:
        missing["queue"] = str(error)
    return Overview(
        str(config.mail.domain), now, of_traffic, of_accounts, of_queue, disks(places(config)), missing
    )


def places(config: Config) -> list[Path]:
    """The directories that need space: mailboxes, store, queue, and the system."""
    store = config.store.file
    return [Path(config.store.mail), *([store.parent] if store else []), QUEUE, Path("/")]
