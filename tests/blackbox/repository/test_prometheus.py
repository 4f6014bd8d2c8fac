"""Prometheus' own promtool accepts the metrics and the alerts, and each alert fires when it should.

`make test` brings `dist/promtool`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chatmail_milter.figures.metrics import render
from tests.unit.figures.test_metrics import FULL

TOP = Path(__file__).resolve().parents[3]
RULES = TOP / "ansible/monitoring/rules.yml"
# Alert: its metric, the series by their labels that fire it, and those that don't; its own labels.
# `a+b`: from a, b more each minute.
Series = dict[str, str]
ALERTS: dict[str, tuple[str, Series, Series, dict[str, str]]] = {
    "ChatmailMetricsOld": (
        "collected_timestamp_seconds", {"": "0+0"}, {"": "0+60"}, {"severity": "warning"},
    ),
    "ChatmailSourceDown": (
        "source_up", {'source="queue"': "0+0"}, {'source="queue"': "1+0"},
        {"severity": "critical", "source": "queue"},
    ),
    "ChatmailOurFault": (
        "messages_judged_total",
        {'service="smtp",verdict="tempfail",reason="store-away"': "0+1"},
        {'service="smtp",verdict="tempfail",reason="dkim-dns"': "0+1"},
        {"severity": "critical", "reason": "store-away"},
    ),
    "ChatmailDecisionsSlow": (
        "decision_seconds_bucket",
        {'service="smtp",le="4"': "0+0", 'service="smtp",le="8"': "0+9", 'service="smtp",le="+Inf"': "0+9"},
        {'service="smtp",le="4"': "0+9", 'service="smtp",le="8"': "0+9", 'service="smtp",le="+Inf"': "0+9"},
        {"severity": "warning", "service": "smtp"},
    ),
    "ChatmailMxdelivFails": (
        "mxdeliv_answers_total",
        {'status="200"': "0+1", 'status="503"': "0+2"},
        {'status="200"': "0+2", 'status="503"': "0+1"},
        {"severity": "warning"},
    ),
    "ChatmailDeliveriesFail": (
        "attempts_total",
        {'road="https",outcome="success"': "0+1", 'road="https",outcome="failure"': "0+2"},
        {'road="https",outcome="success"': "0+0", 'road="https",outcome="failure"': "0+1"},
        {"severity": "warning", "road": "https"},
    ),
    "ChatmailQueueLong": (
        "queue_messages",
        {'queue="active"': "600+0", 'queue="deferred"': "600+0"},
        {'queue="active"': "600+0", 'queue="deferred"': "300+0"},
        {"severity": "warning"},
    ),
    "ChatmailQueueOld": (
        "queue_oldest_age_seconds", {"": "300000+0"}, {"": "172800+0"}, {"severity": "warning"},
    ),
    "ChatmailPushFails": (
        "push_notifications_total",
        {'outcome="failed"': "0+2", 'outcome="told"': "0+1"},
        {'outcome="failed"': "0+1", 'outcome="told"': "0+2"},
        {"severity": "warning"},
    ),
    "ChatmailLoginsFail": (
        "logins_total",
        {'outcome="failure"': "0+20", 'outcome="success"': "0+1"},
        {'outcome="failure"': "0+5", 'outcome="success"': "0+1"},
        {"severity": "warning"},
    ),
}  # fmt: skip


def promtool(*arguments: str, given: bytes = b"") -> str:
    program = TOP / "dist/promtool"
    assert program.exists(), "run `make dist/promtool`"
    done = subprocess.run(
        [program, *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


def test_metrics_are_named_and_described_as_prometheus_has_it() -> None:
    assert promtool("check", "metrics", given=render(FULL, lambda _word: True)) == ""


def test_every_alert_is_in_the_table() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("name", ALERTS)
def test_alert_fires_for_what_it_is_about_and_for_nothing_else(name: str, tmp_path: Path) -> None:
    metric, fires, quiet, labels = ALERTS[name]
    firing = {"alertname": name, "alertstate": "firing", "instance": "relay:1"} | labels
    named = ",".join(f'{label}="{text}"' for label, text in firing.items())
    tests = [
        _test(name, metric, fires, [{"labels": f"ALERTS{{{named}}}", "value": 1}]),
        _test(name, metric, quiet, []),
    ]
    file = tmp_path / "tests.json"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))


def _test(name: str, metric: str, series: Series, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [
            {"series": f'chatmail_{metric}{{instance="relay:1",{labels}}}', "values": f"{values}x120"}
            for labels, values in series.items()
        ],
        "promql_expr_test": [
            {"eval_time": "110m", "exp_samples": expected, "expr": f'ALERTS{{alertname="{name}"}}'}
        ],
    }
