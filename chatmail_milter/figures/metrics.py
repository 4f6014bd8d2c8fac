"""The figures as Prometheus metrics. https://prometheus.io/docs/instrumenting/exposition_formats/

`METRICS` lists all of them; docs/metrics.md has the same table. Counters are those of the store and of
Dovecot, so they don't restart with the program that prints them. Units are seconds and octets. The values of
every label are from fixed lists, so no label has an address, a domain or an IP address.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from chatmail_milter.calls.coturn import CallFigures
from chatmail_milter.figures.accounts import AccountFigures, PushFigures
from chatmail_milter.figures.waiting import Queue
from chatmail_milter.store.contacts import bucket
from chatmail_milter.store.counters import JUDGED, Counted

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
# Bounds of a histogram's buckets: 1/1024 s to 512 s. They are bounds of the store's buckets, too.
BOUNDS = tuple(2.0**exponent for exponent in range(-10, 10))


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name`: without the suffix `_total` of counters."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str

    @property
    def exposed(self) -> str:
        """The name as an operator sees it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


METRICS = (
    Metric(
        "chatmail_messages_judged", "counter", ("service", "verdict", "reason"),
        "Verdicts of the milter: on whole messages, and on senders or recipients that it refused before.",
    ),
    Metric(
        "chatmail_decision_seconds", "histogram", ("service",),
        "How long Postfix waited for a verdict of the milter.",
    ),
    Metric(
        "chatmail_incoming", "counter", ("service", "outcome", "reason"),
        "Messages from peers, and recipients that Postfix refused before a message.",
    ),
    Metric(
        "chatmail_incoming_seconds", "histogram", ("service",),
        "Time from MAIL to the verdict, of accepted messages from peers.",
    ),
    Metric("chatmail_mxdeliv_answers", "counter", ("status",), "Answers to POST /mxdeliv, by HTTP status."),
    Metric(
        "chatmail_attempts", "counter", ("road", "outcome", "reason"),
        "Delivery attempts to peers: one POST, or one SMTP transaction.",
    ),
    Metric("chatmail_attempt_seconds", "histogram", ("road",), "Duration of successful delivery attempts."),
    Metric("chatmail_push_notifications", "counter", ("outcome",), "Push notifications that were due."),
    Metric("chatmail_push_pending", "gauge", (), "Devices with a queued push notification."),
    Metric("chatmail_push_devices", "gauge", (), "Registered devices."),
    Metric("chatmail_logins", "counter", ("outcome",), "Logins (IMAP, submission) since Dovecot started."),
    Metric("chatmail_imap_connections", "gauge", ("state",), "Open IMAP connections."),
    Metric("chatmail_queue_messages", "gauge", ("queue",), "Messages in Postfix's queues."),
    Metric("chatmail_queue_size_bytes", "gauge", (), "Size of all messages in the queue."),
    Metric("chatmail_queue_oldest_age_seconds", "gauge", (), "Age of the oldest message, 0 without any."),
    Metric("chatmail_call_ports", "gauge", (), "UDP ports that coturn holds for participants of calls."),
    Metric("chatmail_accounts", "gauge", (), "Accounts."),
    Metric("chatmail_accounts_used", "gauge", ("within",), "Accounts with a login within this time."),
    Metric("chatmail_accounts_suspended", "gauge", (), "Suspended accounts."),
    Metric(
        "chatmail_source_up", "gauge", ("source",),
        "Whether a source of figures answered; without it, its metrics are missing.",
    ),
    Metric("chatmail_collected_timestamp_seconds", "gauge", (), "When the figures were read, Unix time."),
    Metric("chatmail_collection_seconds", "gauge", (), "How long the collection took."),
    Metric("chatmail_build_info", "gauge", ("version",), "1, with the version of the relay's programs."),
)  # fmt: skip

_KINDS = MappingProxyType(
    {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
)
# Verdicts that an alert is about: Prometheus sees no increase where a series begins above 0.
_FROM_ZERO = (("tempfail", "our-fault"), ("tempfail", "store-away"))
_QUEUES = ("active", "deferred", "hold", "incoming", "maildrop")
_SERVICES = tuple(service for service in JUDGED if service != "mixed")
_INCOMING: Mapping[str, str] = MappingProxyType({"smtp": "in-smtp", "mxdeliv": "in-mxdeliv"})
_ROADS: Mapping[str, str] = MappingProxyType({"https": "out-https", "smtp": "out-smtp"})
# A peer chooses the status of its answer, so only its class is a label.
_STATUS = re.compile(r"http-([1-5])\d\d\Z")


@dataclass(frozen=True, slots=True)
class DovecotFigures:
    """Figures from Dovecot. `logins`: by outcome (`success`, `failure`). `connections`: by state (`active`,
    `idle`)."""

    logins: Mapping[str, int]
    connections: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Collected:
    """All figures to render; None if a source could not be read. `seconds`: how long it took to collect.

    `calls`: None where the host has no coturn of the relay.
    """

    version: str
    at: datetime
    seconds: float
    counters: Mapping[str, Counted] | None = None
    accounts: AccountFigures | None = None
    push: PushFigures | None = None
    queue: Queue | None = None
    dovecot: DovecotFigures | None = None
    calls: CallFigures | None = None


def render(found: Collected, known: Callable[[str], bool]) -> bytes:
    """The exposition, in text format 0.0.4. `known`: whether a word is a reason that we give."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Values(_Families(known).fill(found)))
    return generate_latest(registry)


def rows() -> str:
    """`METRICS` as rows of the table in docs/metrics.md."""
    found = ""
    for one in METRICS:
        labels = ", ".join(f"`{label}`" for label in one.labels) or "-"
        found += f"| `{one.exposed}` | {one.kind} | {labels} | {one.help} |\n"
    return found


@dataclass(frozen=True, slots=True)
class _Values(Collector):
    families: Iterable[Family]

    def collect(self) -> Iterable[Family]:
        return self.families


@dataclass(slots=True)
class _Families:
    known: Callable[[str], bool]
    of: dict[str, Family] = field(default_factory=dict)

    def fill(self, found: Collected) -> Iterator[Family]:
        """The families that have samples."""
        for metric in METRICS:
            self.of[metric.name] = _KINDS[metric.kind](metric.name, metric.help, labels=metric.labels)
        if found.counters is not None:
            self._counters(found.counters)
        if found.accounts is not None:
            self._accounts(found.accounts)
        if found.push is not None:
            self._set("chatmail_push_pending", found.push.pending)
            self._set("chatmail_push_devices", found.push.devices)
        if found.queue is not None:
            self._queue(found.queue, found.at)
        if found.dovecot is not None:
            for outcome, number in found.dovecot.logins.items():
                self._set("chatmail_logins", number, outcome)
            for state, number in found.dovecot.connections.items():
                self._set("chatmail_imap_connections", number, state)
        if found.calls is not None:
            self._set("chatmail_source_up", found.calls.up, "coturn")
            if found.calls.up:
                self._set("chatmail_call_ports", found.calls.ports)
        for source in ("store", "queue", "dovecot"):
            there = found.counters if source == "store" else getattr(found, source)
            self._set("chatmail_source_up", there is not None, source)
        self._set("chatmail_collected_timestamp_seconds", found.at.timestamp())
        self._set("chatmail_collection_seconds", found.seconds)
        self._set("chatmail_build_info", 1, found.version)
        return (family for family in self.of.values() if family.samples)

    def _counters(self, counters: Mapping[str, Counted]) -> None:
        none = Counted()
        for service in _SERVICES:
            # Part of what comes by `/mxdeliv`, on a listener of its own.
            kinds = (JUDGED[service], JUDGED["mixed"]) if service == "mxdeliv" else (JUDGED[service],)
            judged = _sum(counters.get(kind, none) for kind in kinds)
            verdicts = Counter(dict.fromkeys(_FROM_ZERO, 0))
            verdicts.update(self._by_reason(judged.labels))
            for (verdict, reason), number in verdicts.items():
                self._set("chatmail_messages_judged", number, service, verdict, reason)
            self._histogram("chatmail_decision_seconds", judged, service)
        for name, times, kinds_of in (
            ("chatmail_incoming", "chatmail_incoming_seconds", _INCOMING),
            ("chatmail_attempts", "chatmail_attempt_seconds", _ROADS),
        ):
            for label, kind in kinds_of.items():
                counted = counters.get(kind, none)
                outcomes = {f"failure {word}": n for word, n in counted.labels.items() if word}
                for (outcome, reason), number in self._by_reason(outcomes).items():
                    self._set(name, number, label, outcome, reason)
                self._set(name, counted.labels[""], label, "success", "none")
                self._histogram(times, counted, label)
        for status, number in sorted(counters.get("mxdeliv", none).labels.items()):
            self._set("chatmail_mxdeliv_answers", number, status)
        for outcome, number in sorted(counters.get("push", none).labels.items()):
            self._set("chatmail_push_notifications", number, outcome)

    def _by_reason(self, labels: Mapping[str, int]) -> Counter[tuple[str, str]]:
        """Numbers by the two words of a label, the second of which is a reason."""
        found: Counter[tuple[str, str]] = Counter()
        for label, number in sorted(labels.items()):
            first, _, word = label.partition(" ")
            status = _STATUS.match(word)
            found[first, f"http-{status[1]}xx" if status else word if self.known(word) else "other"] += number
        return found

    def _accounts(self, accounts: AccountFigures) -> None:
        self._set("chatmail_accounts", accounts.number)
        self._set("chatmail_accounts_suspended", accounts.suspended)
        for within, number in (
            ("day", accounts.used_day),
            ("week", accounts.used_week),
            ("month", accounts.used_month),
        ):
            self._set("chatmail_accounts_used", number, within)

    def _queue(self, queue: Queue, now: datetime) -> None:
        for name in _QUEUES:
            self._set("chatmail_queue_messages", queue.by_queue.get(name, 0), name)
        self._set("chatmail_queue_size_bytes", queue.size)
        age = (now - queue.oldest).total_seconds() if queue.oldest else 0.0
        self._set("chatmail_queue_oldest_age_seconds", max(0.0, age))

    def _histogram(self, name: str, counted: Counted, *labels: str) -> None:
        buckets = []
        for bound in BOUNDS:
            below = sum(n for at, n in counted.buckets.items() if at <= bucket(bound))
            buckets.append((str(bound), float(below)))
        buckets.append(("+Inf", float(counted.timed)))
        family = self.of[name]
        assert isinstance(family, HistogramMetricFamily)  # noqa: S101  (for mypy)
        family.add_metric(labels, buckets, counted.seconds)

    def _set(self, name: str, value: float, *labels: str) -> None:
        family = self.of[name]
        assert not isinstance(family, HistogramMetricFamily)  # noqa: S101  (for mypy)
        family.add_metric(labels, float(value))


def _sum(several: Iterable[Counted]) -> Counted:
    total = Counted()
    for one in several:
        total.labels.update(one.labels)
        total.timed += one.timed
        total.seconds += one.seconds
        total.buckets.update(one.buckets)
    return total
