"""Metrics for Prometheus: who may read them, and that they count what happens, also across a restart."""

from __future__ import annotations

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chatmail_milter.figures.metrics import METRICS
from tests.chat import firewall, hops, journal, pgp, relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

URL = "http://127.0.0.1:10036/metrics"
SOURCES = ("store", "queue", "dovecot", "coturn")
OK = "200 text/plain; version=0.0.4; charset=utf-8"
# The user that the inventory names; another one; and root.
READER, OTHER = "nobody", "www-data"
Samples = dict[str, float]
GET = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
        print(answer.status, answer.headers["Content-Type"]); print(answer.read().decode(), end="")
except urllib.error.HTTPError as error:
    print(error.code)
except urllib.error.URLError as error:
    print(type(error.reason).__name__)
"""


def fetch(host: LabHost, user: str, url: str = URL) -> tuple[str, str]:
    """How it went, and the body."""
    said = host.run(["runuser", "-u", user, "--", "python3", "-c", GET, url]).stdout
    first, _, body = said.partition("\n")
    return first, body


def scrape(host: LabHost) -> Samples:
    """Collects anew, and asks as Prometheus does. By name and labels, as they are written."""
    # It may be running by its timer, with older figures. systemd refuses a sixth start within ten seconds.
    unit = "chatmail-metrics.service"
    host.run(f"systemctl stop {unit}; systemctl reset-failed {unit}; systemctl start {unit}")
    status, text = fetch(host, READER)
    assert status == OK
    return {
        f"{one.name}{''.join(f',{name}={value}' for name, value in sorted(one.labels.items()))}": one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_the_timer_collects_again_by_itself(a: LabHost) -> None:
    show = "systemctl show --property=LastTriggerUSec --value chatmail-metrics.timer"

    def fired() -> float:
        """When the timer last did, in Unix time; 0 if never."""
        return float(a.run(f'date --date="$({show})" +%s || echo 0').stdout)

    def collected() -> float:
        lines = fetch(a, READER)[1].splitlines()
        name = "chatmail_collected_timestamp"
        return next(float(line.split()[1]) for line in lines if line.startswith(name))

    # Every minute, and this relay has been up for longer: nothing to wait for as a rule.
    until("the timer has fired of late", lambda: time.time() - fired() < 100, 100, every=2)
    until("what it started has collected", lambda: collected() >= fired(), 20)


def test_only_root_and_the_named_user_may_read_them(a: LabHost) -> None:
    scrape(a)
    for user in (READER, "root"):
        status, text = fetch(a, user)
        assert (status, "chatmail_accounts " in text) == (OK, True)
    assert fetch(a, OTHER) == ("ConnectionRefusedError", "")
    directory = a.run("stat --format=%U:%G:%a /run/chatmail-metrics").stdout.strip()
    assert directory == "root:www-data:750"
    # Nothing else is served there, and nothing of it to the world.
    assert fetch(a, READER, "http://127.0.0.1:10036/") == ("404", "")
    listening = a.run("ss --no-header --listening --tcp --numeric sport = 10036").stdout.split()
    assert listening[3] == "127.0.0.1:10036"


def test_where_nobody_is_named_nothing_is_collected(b: LabHost) -> None:
    assert b.run("systemctl is-enabled chatmail-metrics.timer", check=False).stdout.strip() == "disabled"
    assert b.run("ss --no-header --listening --tcp --numeric sport = 10036").stdout == ""
    assert "auth_successes" not in b.run("doveconf -n").stdout


def test_every_metric_is_there_with_all_sources_and_without_addresses(a: LabHost, writer: Login) -> None:
    found = scrape(a)
    names = {name.partition(",")[0] for name in found}
    # A label that was never counted has no sample: on a new relay these have none at all.
    rare = {f"chatmail_{one}_total" for one in ("messages_judged", "mxdeliv_answers", "push_notifications")}
    for metric in METRICS:
        exposed = f"{metric.name}_count" if metric.kind == "histogram" else metric.exposed
        assert exposed in names | rare
    assert [found[f"chatmail_source_up,source={one}"] for one in SOURCES] == [1] * len(SOURCES)
    text = fetch(a, READER)[1]
    assert writer[0].partition("@")[0] not in text
    assert not any(word in text for word in ("@", "_a.lab", "_b.lab", a.ip))


def test_login_and_idle_client_are_counted(a: LabHost, writer: Login) -> None:
    before = scrape(a)
    with ImapMailbox(a.ip, *writer) as mailbox:
        mailbox.begin_idle()

        def seen() -> bool:
            now = scrape(a)
            grown = (
                now["chatmail_logins_total,outcome=success"] - before["chatmail_logins_total,outcome=success"]
            )
            return grown >= 1 and now["chatmail_imap_connections,state=idle"] >= 1

        until("a login more, and an idle client", seen, 20, every=0.3)
        mailbox.end_idle()
    wrong = writer[0], "wrong" + writer[1]
    with pytest.raises(Exception, match="AUTHENTICATIONFAILED"), ImapMailbox(a.ip, *wrong):
        pass
    failed = "chatmail_logins_total,outcome=failure"
    until("a failed login more", lambda: scrape(a)[failed] > before[failed], 20, every=0.3)


@pytest.mark.usefixtures("_https_afresh")
def test_mail_by_both_roads_is_counted_once_and_stays_counted(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    """Counted beside what crossed by the journal of the other relay: others' apps may still send.

    What waits for anybody who would take it now is delivered before: it might cross elsewhere.
    """
    sent = {
        road: f"chatmail_attempts_total,outcome=success,reason=none,road={road}" for road in ("https", "smtp")
    }
    judged = "chatmail_messages_judged_total,reason=encrypted,service=submission,verdict=pass"
    taken = "chatmail_decision_seconds_count,service=submission"
    tls = "chatmail_attempts_total,outcome=failure,reason=connect,road=https"

    def send(number: int) -> None:
        for _ in range(number):
            message = pgp.encrypted(writer[0], reader[0], pgp.message_id())
            assert smtp.submit(a.ip, writer, [reader[0]], message).code == 250

    def in_silence() -> tuple[float, Samples] | None:
        if any({b.domain, "mta.lab"} & set(row["domains"]) for row in relay.ctl(a, "queue")):
            relay.operate(a, "queue", "flush")
            return None
        since = float(b.run("date +%s.%N").stdout)
        relay.count_all(a)
        found = scrape(a)
        return None if hops.inbound_roads(journal.read(b, since)) else (since, found)

    since, before = until("nothing crosses while it is counted", in_silence, 60)

    now = dict(before)

    def grown(name: str) -> float:
        return now[name] - before.get(name, 0.0)

    def counted() -> bool:
        roads = hops.inbound_roads(journal.read(b, since))
        now.update(scrape(a))
        crossed = [roads.count(road) for road in sent]
        return crossed[0] >= 3 and crossed[1] >= 2 and crossed == [grown(name) for name in sent.values()]

    send(3)
    until("three cross by HTTPS", lambda: hops.inbound_roads(journal.read(b, since)).count("https") >= 3, 20)
    with firewall.closed(b, 443, "refuse"):
        send(2)
        until("two cross by SMTP", lambda: hops.inbound_roads(journal.read(b, since)).count("smtp") >= 2, 20)
    until("each that crossed is counted once, by its road", counted, 20, every=0.5)
    assert grown(tls) >= 1
    until("the verdicts, too", lambda: counted() and grown(judged) >= 5 and grown(taken) >= 5, 20, every=0.5)
    a.run("systemctl restart mxdeliv-relay.service chatmail-milter.service")
    after = scrape(a)
    assert [after[name] for name in (*sent.values(), judged)] >= [
        now[name] for name in (*sent.values(), judged)
    ]


def test_mail_from_a_peer_is_counted_with_the_answer(a: LabHost, b: LabHost, writer: Login) -> None:
    before = scrape(a)
    sender = fresh_address(b.domain), fresh_password()
    with ImapMailbox(b.ip, *sender):
        pass  # The first login creates the account.
    message = pgp.encrypted(sender[0], writer[0], pgp.message_id())
    assert smtp.submit(b.ip, sender, [writer[0]], message).code == 250
    names = (
        "chatmail_mxdeliv_answers_total,status=200",
        "chatmail_incoming_total,outcome=success,reason=none,service=mxdeliv",
        "chatmail_messages_judged_total,reason=encrypted,service=mxdeliv,verdict=pass",
    )

    def counted() -> bool:
        now = scrape(a)
        return all(now.get(name, 0.0) > before.get(name, 0.0) for name in names)

    until("answer, message and verdict are counted", counted, 20, every=0.5)
