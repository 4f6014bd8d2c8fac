"""The figures as Prometheus metrics, and what operators get for them: documentation, dashboard, alerts."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from chatmail_milter.calls.coturn import CallFigures
from chatmail_milter.figures import metrics
from chatmail_milter.figures.accounts import AccountFigures, PushFigures
from chatmail_milter.figures.metrics import METRICS, Collected, DovecotFigures, render
from chatmail_milter.figures.waiting import Queue
from chatmail_milter.store.contacts import bucket
from chatmail_milter.store.counters import Counted

TOP = Path(__file__).resolve().parents[3]
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
NAME = re.compile(r"\bchatmail_\w+")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def counted(labels: dict[str, int], *seconds: float) -> Counted:
    return Counted(Counter(labels), len(seconds), sum(seconds), Counter(map(bucket, seconds)))


FULL = Collected(
    "1.2.3",
    NOON,
    0.25,
    counters={
        "judged-smtp": counted(
            {"pass encrypted": 3, "reject dkim-none": 2, "reject made-up": 1}, 0.001, 0.002, 3.0
        ),
        "judged-mxdeliv": counted({"pass encrypted": 1}, 0.001),
        "judged-mixed": counted({"pass encrypted": 1}, 0.001),
        "out-https": counted({"": 4, "http-502": 1, "http-599": 2, "tls": 1}, 0.5, 0.5, 1.0, 600.0),
        "in-smtp": counted({"": 1, "user-unknown": 1}, 0.5),
        "mxdeliv": counted({"200": 5, "503": 1}),
        "push": counted({"told": 2}),
    },
    accounts=AccountFigures(10, 3, 5, 7, 1, 2),
    push=PushFigures(4, 1),
    queue=Queue(3, 900, NOON - timedelta(minutes=5), {"deferred": 2, "hold": 1}, ()),
    dovecot=DovecotFigures({"success": 8, "failure": 1}, {"active": 2, "idle": 6}),
    calls=CallFigures(up=True, ports=4),
)


def samples(found: Collected) -> Samples:
    text = render(found, lambda word: word != "made-up").decode()
    families = list(text_string_to_metric_families(text))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for one in families for s in one.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_counters_have_the_labels_of_what_was_counted() -> None:
    found = samples(FULL)
    assert (
        value(found, "chatmail_messages_judged_total", service="smtp", verdict="reject", reason="dkim-none")
        == 2
    )
    # Both listeners of `/mxdeliv`.
    assert (
        value(found, "chatmail_messages_judged_total", service="mxdeliv", verdict="pass", reason="encrypted")
        == 2
    )
    assert value(found, "chatmail_attempts_total", road="https", outcome="success", reason="none") == 4
    assert value(found, "chatmail_attempts_total", road="smtp", outcome="success", reason="none") == 0
    assert value(found, "chatmail_mxdeliv_answers_total", status="503") == 1
    assert value(found, "chatmail_logins_total", outcome="failure") == 1


def test_words_that_a_peer_can_choose_are_one_label() -> None:
    found = samples(FULL)
    assert value(found, "chatmail_attempts_total", road="https", outcome="failure", reason="http-5xx") == 3
    assert (
        value(found, "chatmail_messages_judged_total", service="smtp", verdict="reject", reason="other") == 1
    )
    assert "made-up" not in str(found)


def test_a_histogram_counts_what_is_at_most_its_bound() -> None:
    found = samples(FULL)
    buckets = {
        float(dict(labels)["le"]): n
        for (name, labels), n in found.items()
        if name == "chatmail_attempt_seconds_bucket" and dict(labels)["road"] == "https"
    }
    assert [buckets[bound] for bound in (0.25, 0.5, 1.0, 512.0, float("inf"))] == [0, 2, 3, 3, 4]
    assert list(buckets.values()) == sorted(buckets.values())
    assert value(found, "chatmail_attempt_seconds_sum", road="https") == 602.0
    assert value(found, "chatmail_decision_seconds_count", service="mxdeliv") == 2


def test_what_waits_has_its_age_and_an_empty_queue_has_none() -> None:
    found = samples(FULL)
    assert value(found, "chatmail_queue_oldest_age_seconds") == 300
    assert value(found, "chatmail_queue_messages", queue="deferred") == 2
    assert value(found, "chatmail_queue_messages", queue="active") == 0
    empty = samples(Collected("1", NOON, 0.0, queue=Queue(0, 0, None, {}, ())))
    assert value(empty, "chatmail_queue_oldest_age_seconds") == 0


def test_what_could_not_be_read_is_missing_and_said_to_be() -> None:
    found = samples(Collected("1", NOON, 0.0, queue=FULL.queue))
    assert {name for name, _ in found} == {
        "chatmail_queue_messages", "chatmail_queue_size_bytes", "chatmail_queue_oldest_age_seconds",
        "chatmail_source_up", "chatmail_collected_timestamp_seconds", "chatmail_collection_seconds",
        "chatmail_build_info",
    }  # fmt: skip
    assert value(found, "chatmail_source_up", source="queue") == 1
    assert value(found, "chatmail_source_up", source="store") == 0


def test_coturn_is_a_source_where_the_relay_has_it() -> None:
    assert value(samples(FULL), "chatmail_source_up", source="coturn") == 1
    assert value(samples(FULL), "chatmail_call_ports") == 4
    away = samples(replace(FULL, calls=CallFigures(up=False, ports=0)))
    assert value(away, "chatmail_source_up", source="coturn") == 0
    assert "chatmail_call_ports" not in {name for name, _ in away}
    without = samples(replace(FULL, calls=None))
    assert "coturn" not in str(without)


def test_every_metric_is_exposed_with_the_labels_that_the_list_names() -> None:
    text = render(FULL, lambda _word: True).decode()
    found = {
        (family.name, family.type, tuple(sorted(family.samples[0].labels.keys() - {"le"})))
        for family in text_string_to_metric_families(text)
    }
    assert found == {(one.name, one.kind, tuple(sorted(one.labels))) for one in METRICS}


def test_the_documentation_has_every_metric() -> None:
    assert metrics.rows() in (TOP / "docs/metrics.md").read_text("utf-8")


def exposed() -> set[str]:
    return {name for name, _ in samples(FULL)}


def expressions(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_dashboard_shows_nothing_but_metrics_that_there_are() -> None:
    board = json.loads((TOP / "ansible/monitoring/dashboard.json").read_text("utf-8"))
    asked = expressions(board["panels"])
    assert len(asked) > 10
    used = {name for one in asked for name in NAME.findall(one)}
    assert used - exposed() == set()
    # And leaves none out but those that say how it was collected.
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert {one.exposed for one in METRICS} - bases <= {"chatmail_collection_seconds", "chatmail_build_info"}


def test_verdicts_that_an_alert_is_about_are_there_before_the_first() -> None:
    rules = (TOP / "ansible/monitoring/rules.yml").read_text("utf-8")
    [words] = re.findall(r'chatmail_messages_judged_total\{reason=~"([^"]+)"\}\[', rules)
    found = samples(Collected("1.2.3", NOON, 0.25, counters={}))
    for service in ("submission", "smtp", "mxdeliv"):
        for word in words.split("|"):
            labels = {"service": service, "verdict": "tempfail", "reason": word}
            assert value(found, "chatmail_messages_judged_total", **labels) == 0


def test_alerts_ask_for_nothing_but_metrics_that_there_are() -> None:
    lines = (TOP / "ansible/monitoring/rules.yml").read_text("utf-8").splitlines()
    used = {name for line in lines if not line.lstrip().startswith("#") for name in NAME.findall(line)}
    assert len(used) > 5
    assert used - exposed() == set()
