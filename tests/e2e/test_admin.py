"""The admin pages of a real relay: through nginx by HTTPS, and what they change there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.attacks import strangers
from tests.blackbox.admin.chromium import Browser, log_in
from tests.chat import firewall, relay, smtp
from tests.chat.admin_pages import AdminPages, logged_in, shown
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.playbook import nginx_reads_its_files, playbook
from tests.e2e.test_expiry import is_there
from tests.e2e.test_operator import deferred
from tests.e2e.test_unreadable import READ as CAN_READ
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.inventory import ADMIN
from tests.lab.plan import REPOSITORY
from tests.lab.visitor import seen_as

ACT, READ = (ADMIN[role][0] for role in ("privileged", "read_only"))
PAGES = (
    "", "/peers", "/queue", "/accounts", "/blocklist", "/federation", "/routes", "/endpoints",
    "/tokens", "/settings",
)  # fmt: skip
UNITS = ("chatmail-admin.service", "chatmail-admin.socket", "chatmail-orders.socket")
PICTURES = REPOSITORY / "dist/admin"
HASHES = "/etc/chatmail/admin.passwords"
# Nobody else's: who guesses is refused for a minute. And one outside of `chatmail_admin_networks`.
GUESSER, ELSEWHERE = "10.77.0.96", "10.77.0.200"


@pytest.fixture
def pages(a: LabHost) -> AdminPages:
    return logged_in(a, ACT)


def is_off(host: LabHost) -> bool:
    """Whether `/admin` is like any name that does not exist, and no unit of it is there."""
    states = host.run(["systemctl", "is-active", *UNITS], check=False).stdout.split()
    enabled = host.run(["systemctl", "is-enabled", *UNITS[1:]], check=False).stdout.split()
    same = shown(host, "/admin") == shown(host, "/none")
    return (
        same
        and shown(host, "/admin/login")[0] == 404
        and (states, enabled) == (["inactive"] * 3, ["disabled"] * 2)
    )


class TestOff:
    def test_where_no_password_is_set_there_is_nothing(self, b: LabHost) -> None:
        assert shown(b, "/admin")[0] == 404
        assert is_off(b)

    def test_from_other_networks_there_is_nothing(self, a: LabHost) -> None:
        with seen_as(ELSEWHERE, a.ip):
            assert shown(a, "/admin") == shown(a, "/none")
            assert shown(a, "/admin")[0] == 404
        assert shown(a, "/admin")[0] == 401

    @pytest.fixture
    def off(self, lab: Lab, a: LabHost) -> Iterator[None]:
        """Turned off by a run of the playbook, and on again afterwards."""
        parts = "chatmail_configure,chatmail_run,nginx_configure"
        assert playbook(lab, a, "--tags", parts, chatmail_admin_passwords={}).returncode == 0
        yield
        with nginx_reads_its_files(a):
            done = playbook(lab, a, "--tags", parts, "--diff")
        assert done.returncode == 0, done.stdout
        # Whoever has a hash can guess its password at leisure.
        assert "$argon2id$" not in done.stdout + done.stderr
        assert a.run(f"stat -c '%a %U %G' {HASHES}").stdout.split() == ["640", "root", "chatmail-admin"]
        assert logged_in(a, ACT).get("/session")["role"] == "privileged"

    @pytest.mark.usefixtures("off")
    def test_without_the_variable_the_next_run_takes_them_away(self, a: LabHost) -> None:
        until("nginx knows", lambda: is_off(a), 20)
        assert a.run(f"ls {HASHES}", check=False).stdout == ""


def test_who_has_no_password_learns_nothing(a: LabHost) -> None:
    stranger = AdminPages(a)
    answers = [stranger.ask("GET", path) for path in (*PAGES, "/none")]
    answers.append(stranger.ask("POST", "/orders/block-add", {"entry": "spam.lab"}))
    assert {status for status, _ in answers} == {401}
    assert all(said == answers[0][1] for _, said in answers)
    assert relay.ctl(a, "block", "list") == []


def test_ten_wrong_passwords_a_minute_from_an_address_whatever_it_calls_itself(
    a: LabHost, pages: AdminPages
) -> None:
    with seen_as(GUESSER, a.ip):
        # nginx names the client; what the client says of itself counts for nothing.
        names = cycle([{"X-Real-IP": one, "X-Forwarded-For": one} for one in strangers.ipv4(200)])

        def log_in(password: str) -> int:
            return AdminPages(a, **next(names)).log_in(password)

        assert [log_in("guess") for _ in range(10)] == [401] * 10

        done = Event()

        def guess_on() -> None:
            while not done.is_set():
                log_in("guess")

        # One more may be made every 6 seconds, which a guesser takes.
        with ThreadPoolExecutor(10) as pool:
            guessers = [pool.submit(guess_on) for _ in range(10)]
            try:
                until("the right one is refused too", lambda: log_in(ACT) == 429, 40)
            finally:
                done.set()
        for guesser in guessers:
            guesser.result()
    # Others log in, and whoever is logged in stays it.
    assert AdminPages(a).log_in(READ) == 200
    assert pages.get("/session")["role"] == "privileged"


def test_the_overview_has_all_figures(a: LabHost, pages: AdminPages) -> None:
    created = [one for one in relay.ctl(a, "account", "list") if one["created"]]

    def all_of_them() -> Any:
        found = pages.get()
        return None if found["missing"] or found["accounts"]["number"] < len(created) else found

    found = until("all was looked at", all_of_them, 90, every=1)
    assert (found["domain"], found["accounts"]["number"]) == (a.domain, len(created))
    assert {one["place"] for one in found["disks"]}
    states = {one["what"]: one["state"] for one in found["services"]}
    for unit in ("chatmail-milter.service", "chatmail-admin.socket", f"{a.postfix}.service", "nginx.service"):
        assert states[unit] == "good"
    assert {one["subject"] for one in found["findings"]} >= {"services", "store", "ports", "dns", "queue"}
    # It is root's doctor, who sees all.
    unseen = [one for one in found["findings"] if one["state"] == "unknown"]
    asked = relay.asked(a, "doctor")[1]
    assert unseen == [one for one in asked if one["state"] == "unknown"]


def test_traffic_is_counted_by_the_hour(
    a: LabHost, b: LabHost, pages: AdminPages, writer: Login, reader: Login
) -> None:
    def attempts(way: str) -> int:
        relay.count_all(a)
        pages.order("queue-flush", domain="nobody.lab")  # so that the pages look anew
        return int(pages.get()["traffic"]["total"][way]["attempts"])

    def has_one_more(way: str) -> bool:
        return attempts(way) == before[way] + 1

    before = {way: attempts(way) for way in ("submission", "out-https")}
    mid = smtp.send(a.ip, writer, reader[0])
    # To count restarts the relay: not while it brings the message, or there would be another attempt.
    with ImapMailbox(b.ip, *reader) as mailbox:
        until("it arrives", lambda: mailbox.find(mid), 30)
    for way in before:
        until(f"{way} has one more", partial(has_one_more, way), 40, every=0.5)
    (row,) = [one for one in pages.get(f"/peers?domain={b.domain}")["peers"] if one["road"] == "https"]
    assert row["share"] > 0
    history = pages.get(f"/peers/{b.domain}?span=day")["history"]
    assert history["total"]["https"]["attempts"] >= 1


def test_orders_do_what_chatmailctl_does(a: LabHost, pages: AdminPages) -> None:
    assert pages.order("block-add", entry="Spam.lab", note="so")[0] == 200
    assert [one["entry"] for one in relay.ctl(a, "block", "list")] == ["spam.lab"]
    assert [one["entry"] for one in pages.get("/blocklist")["entries"]] == ["spam.lab"]
    assert pages.order("block-remove", entry="spam.lab")[0] == 200
    assert relay.ctl(a, "block", "list") == []
    assert pages.order("block-remove", entry="spam.lab")[0] == 404
    assert pages.order("route-set", domain="x.lab", target="mx.x.lab", https="only")[0] == 200
    assert [one["domain"] for one in relay.ctl(a, "route", "list")] == ["x.lab"]
    status, said = pages.order("route-set", domain="x.lab", target="not a host")
    assert (status, said["field"]) == (422, "target")
    assert pages.order("route-unset", domain="x.lab")[0] == 200
    status, said = pages.order("token-create", uses="2", expires="1h")
    assert (status, a.domain in said["said"]) == (200, True)
    (token,) = pages.get("/tokens")["tokens"]
    assert pages.order("token-revoke", token=token["id"])[0] == 200
    assert relay.ctl(a, "token", "list") == []


def test_a_message_of_the_queue_is_held_released_and_deleted(
    a: LabHost, mta: LabHost, pages: AdminPages, writer: Login
) -> None:
    def waits_in(message: str) -> str | None:
        rows = {row["queue_id"]: row["queue"] for row in relay.ctl(a, "queue")}
        return rows.get(message)

    def kinds(message: str) -> list[str]:
        return [one["kind"] for one in pages.get(f"/queue/{message}")["way"]["steps"]]

    with firewall.closed(mta, 25, "refuse"):
        before = {*deferred(a, "mta.lab")}
        smtp.send(a.ip, writer, CAROL)
        message = until("it is deferred", lambda: {*deferred(a, "mta.lab")} - before, 20).pop()
        assert pages.order("queue-hold", id=message)[0] == 200
        assert waits_in(message) == "hold"
        found = pages.get(f"/queue/{message}")["message"]
        assert (found["queue"], found["recipients"]) == ("hold", [CAROL])
        # From the journal, as `chatmailctl trace` has it: what journald has written by then.
        until("its way is shown", lambda: {"door", "verdict", "delivery"} <= {*kinds(message)}, 20)
        page = pages.get(f"/queue/{message}")
        assert (page["missing"], page["way"]["recipients"][0]["state"]) == ({}, "waiting")
        assert "mta.lab" in [one["domain"] for one in pages.get("/queue")["queue"]["destinations"]]
        assert pages.order("queue-release", id=message)[0] == 200
        until("it waits as before", lambda: waits_in(message) == "deferred", 20)
        tried = kinds(message).count("delivery")
        assert pages.order("queue-retry", id=message)[0] == 200
        until("it was tried again", lambda: kinds(message).count("delivery") > tried, 30, every=0.5)
        assert pages.order("queue-delete", id=message)[0] == 200
        assert waits_in(message) is None
        assert pages.ask("GET", f"/queue/{message}")[0] == 404


def test_a_peer_s_mail_is_tried_at_once(a: LabHost, mta: LabHost, pages: AdminPages, writer: Login) -> None:
    with firewall.closed(mta, 25, "refuse"):
        smtp.send(a.ip, writer, CAROL)
        until("it is deferred", lambda: deferred(a, "mta.lab"), 20)
        assert relay.ctl(a, "queue")
        until("it is shown", lambda: pages.get()["queue"]["messages"] == len(relay.ctl(a, "queue")), 30)

    def is_gone() -> bool:
        assert pages.order("queue-flush", domain="mta.lab")[0] == 200
        return not deferred(a, "mta.lab")

    until("it is delivered", is_gone, 60, every=1)


def test_an_account_is_suspended_with_its_sessions(a: LabHost, pages: AdminPages, writer: Login) -> None:
    with ImapMailbox(a.ip, *writer):
        status, said = pages.order("account-suspend", address=writer[0])
        assert status == 200
        assert "Ended the IMAP sessions of 1 user" in said["said"]
    assert pages.order("account-resume", address=writer[0])[0] == 200
    assert pages.order("account-delete", address=f"nobody00@{a.domain}")[0] == 404


def test_what_ends_the_sessions_of_late_logins_outlives_its_order(
    a: LabHost, pages: AdminPages, writer: Login
) -> None:
    def of_orders() -> set[str]:
        """Processes that an order started, besides the one that executes it."""
        found = a.run("grep -l chatmail-orders@ /proc/[0-9]*/cgroup", check=False).stdout.split()
        lines = {
            file: a.run(f"tr '\\0' ' ' < {Path(file).parent}/cmdline", check=False).stdout for file in found
        }
        return {file for file, line in lines.items() if "chatmail_milter.ctl.dovecot" in line}

    def is_over() -> bool:
        states = "--state=active,activating,deactivating"
        return not a.run(f"systemctl list-units {states} --no-legend 'chatmail-orders@*'").stdout

    before = of_orders()
    assert pages.order("account-suspend", address=writer[0])[0] == 200
    assert pages.order("account-resume", address=writer[0])[0] == 200
    until("the orders have ended", is_over, 30)
    until("one goes on, and what it starts has become another", lambda: len(of_orders() - before) == 1, 20)


def test_an_account_is_deleted_with_its_mailbox(a: LabHost, pages: AdminPages) -> None:
    address, password = fresh_address(a.domain), fresh_password()
    with ImapMailbox(a.ip, address, password):
        place = f"/var/vmail/{a.domain}/{address.partition('@')[0]}"
        assert is_there(a, place)
    assert pages.order("account-delete", address=address)[0] == 200
    assert not is_there(a, place)
    assert pages.get(f"/accounts?begins={address}")["accounts"] == []


def test_a_browser_logs_in_and_orders(lab: Lab, a: LabHost, pages: AdminPages, tmp_path: Path) -> None:
    """Chromium, through nginx: cookie, Content-Security-Policy, forms. Two pictures are kept for people."""
    browser = Browser(tmp_path / "profile", namespace=lab.netns("client"))
    try:
        home = f"https://{a.ip}/admin"
        log_in(browser, home, ACT)
        assert browser.evaluate("document.querySelector('h1').textContent") == a.domain
        until("all was looked at", lambda: not pages.get()["missing"], 90, every=1)
        for name, path in (("overview", ""), ("peers", "/peers")):
            browser.open(home + path)
            browser.picture(PICTURES / f"relay-{name}.png")
        browser.open(f"{home}/blocklist")
        browser.evaluate("document.querySelector('[name=entry]').focus()")
        browser.type("browsed.lab")
        browser.leave(lambda: browser.press("Enter", 13, "\r"))
        assert "Added 1 entry." in browser.evaluate("document.querySelector('[role=status]').textContent")
        assert [one["entry"] for one in relay.ctl(a, "block", "list")] == ["browsed.lab"]
        assert pages.order("block-remove", entry="browsed.lab")[0] == 200
        assert browser.complaints == []
    finally:
        browser.close()


def test_the_read_only_password_looks_and_changes_nothing(a: LabHost) -> None:
    reader = logged_in(a, READ)
    for path in PAGES:
        assert reader.ask("GET", path)[0] == 200
    assert reader.order("block-add", entry="spam.lab")[0] == 403
    assert reader.order("queue-flush", domain="mta.lab")[0] == 403
    assert relay.ctl(a, "block", "list") == []


def test_the_program_behind_the_pages_can_not_inject_mail_nor_read_any(a: LabHost, pages: AdminPages) -> None:
    pages.get()
    pid = a.run("systemctl show --property=MainPID --value chatmail-admin").stdout.strip()
    user = "--reuid=chatmail-admin --regid=chatmail --groups=chatmail-admin"
    inside = f"nsenter --target={pid} --mount --net setpriv {user}"
    # What it may see is there to be seen.
    assert a.run(f"{inside} cat {HASHES} /etc/chatmail/chatmail.toml").returncode == 0
    for place in ("var/spool/postfix/public", "var/spool/postfix/maildrop", "var/vmail", "etc/chatmail/tls"):
        assert a.run(f"{inside} ls /{place}/", check=False).returncode != 0, place
    for name in ("hooks.secret", "store.key", "names.key", "push.url", "wake.url", "turn.secrets"):
        assert a.run(f"{inside} cat /etc/chatmail/{name}", check=False).returncode != 0, name
    assert a.run(f"{inside} touch /run/x /etc/chatmail/x /var/spool/postfix/x", check=False).returncode != 0


def test_the_hashes_are_for_the_pages_alone(a: LabHost) -> None:
    users = a.run("getent passwd | cut -d: -f1").stdout.split()
    said = a.run(["sh", "-c", CAN_READ, "sh", HASHES, *{*users} - {"root"}]).stdout.split()
    assert set(said) == {"chatmail-admin"}


def test_its_log_names_nobody(a: LabHost, pages: AdminPages, writer: Login) -> None:
    cursor = a.cursor()
    assert pages.order("account-suspend", address=writer[0])[0] == 200
    assert pages.order("account-resume", address=writer[0])[0] == 200
    pages.ask("POST", "/login", {"password": "guess", "csrf": pages.get("/session")["csrf"]})
    units = ("--unit=chatmail-admin", "--unit=chatmail-orders@*")
    lines = [one["MESSAGE"] for one in a.journal(*units, since=cursor)]
    assert any("event=order name=account-suspend" in one for one in lines)
    assert not any(name in line for line in lines for name in (writer[0], a.ip))
