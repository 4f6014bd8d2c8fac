"""While a part of a relay is away, killed or hanging, no mail passes unchecked, is lost or is doubled."""

from __future__ import annotations

import pytest

from tests.chat import firewall, pgp, relay, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.e2e.conftest import Login
from tests.e2e.doors import DOORS
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

# Peers are made to look dead here; what the relay learns from that must not colour the next test.
pytestmark = pytest.mark.usefixtures("_https_afresh")

MILTER = "chatmail-milter.socket chatmail-milter.service"
SOCKETS = " ".join(
    f"mxdeliv-relay{one}.socket" for one in ("", "-https-only", "-recipient-policy", "-dns-filter")
)
RELAY = f"{SOCKETS} mxdeliv-relay.service"


def _deferred(a: LabHost, address: str) -> None:
    until("chatmailctl queue shows the mail deferred", lambda: relay.is_deferred(a, address), 45, every=0.5)


def _copies(b: LabHost, reader: Login, mid: str) -> int:
    with ImapMailbox(b.ip, *reader) as mailbox:
        return sum(f"<{mid}>".encode() in raw for raw in mailbox.messages())


def _arrives(a: LabHost, b: LabHost, reader: Login, mid: str) -> int:
    """Wait until the queue has delivered the mail; how many copies came."""

    def arrived() -> bool:
        # As the queue manager would by itself, minutes later.
        a.run("postqueue -f")
        return _copies(b, reader, mid) > 0

    until("the mail arrives", arrived, 45, every=1)
    until("nothing is left in the queue", lambda: not relay.queued(a, reader[0]), 45, every=0.5)
    return _copies(b, reader, mid)


def test_without_the_milter_nothing_passes_and_nothing_is_lost(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    clear = pgp.plain(writer[0], reader[0], pgp.message_id())
    sound = pgp.encrypted(writer[0], reader[0], pgp.message_id())
    with relay.stopped(a, MILTER):
        for message in (clear, sound):
            assert smtp.submit(a.ip, writer, [reader[0]], message).code // 100 == 4
        assert smtp.deliver(a.ip, "x@mta.lab", [writer[0]], clear).code // 100 == 4
    assert smtp.submit(a.ip, writer, [reader[0]], clear).code == 523
    assert _arrives(a, b, reader, smtp.send(a.ip, writer, reader[0])) == 1


def test_without_the_store_nothing_is_let_in_and_nothing_is_lost(
    a: LabHost, b: LabHost, mta: LabHost, writer: Login, reader: Login
) -> None:
    mid, away = pgp.message_id(mta.domain), "451 4.3.0 Policy can't be read, try again later"
    with relay.without_store(b, "chatmail-milter.service"):
        sound = pgp.encrypted(writer[0], reader[0], pgp.message_id())
        for said in (door(b, writer[0], [reader[0]], sound) for door in DOORS):
            assert said == away
        with smtp.logged_in(b.ip, reader) as session:
            assert smtp.begin(session, reader[0], [reader[0], writer[0]]) == [away] * 2
        assert smtp.deliver(mta.ip, CAROL, [reader[0]], pgp.encrypted(CAROL, reader[0], mid)).code == 250
        ours = smtp.send(a.ip, writer, reader[0])
        _deferred(a, reader[0])
    assert _arrives(a, b, reader, ours) == 1
    until("mta.lab comes again", lambda: _copies(b, reader, mid) == 1, 45, every=1)


def test_peer_without_its_milter_gets_the_mail_later(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    with relay.stopped(b, MILTER):
        mid = smtp.send(a.ip, writer, reader[0])
        _deferred(a, reader[0])
    assert _arrives(a, b, reader, mid) == 1


def test_without_the_relay_daemon_mail_waits_in_the_queue(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    with relay.stopped(a, RELAY):
        mid = smtp.send(a.ip, writer, reader[0])
        _deferred(a, reader[0])
    assert _arrives(a, b, reader, mid) == 1


def test_relay_daemon_killed_in_the_middle_of_a_delivery(
    lab: Lab, a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    with firewall.closed(b, 443, "hang"), firewall.closed(b, 25, "hang"):
        before = _daemon(a)
        mid = smtp.send(a.ip, writer, reader[0])
        until("the delivery is under way", lambda: _is_sending(a, b), 10, every=0.05)
        a.run(f"kill -9 {before}")
        until("systemd starts it again", lambda: _daemon(a) not in (0, before), 20)
        _deferred(a, reader[0])
    # Twice where the peer had, or still gets from the kernel, all of what the killed daemon had sent.
    assert _arrives(a, b, reader, mid) in (1, 2)


def test_peer_closed_on_both_roads_gets_the_mail_later(
    lab: Lab, a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    with firewall.closed(b, 443, "refuse"), firewall.closed(b, 25, "refuse"):
        mid = smtp.send(a.ip, writer, reader[0])
        _deferred(a, reader[0])
    assert _arrives(a, b, reader, mid) == 1


def _daemon(host: LabHost) -> int:
    return int(host.run("systemctl show --value -p MainPID mxdeliv-relay.service").stdout)


def _is_sending(a: LabHost, b: LabHost) -> bool:
    """A connection of the daemon to the peer's 443 is being made, or has octets that nobody takes."""
    rows = a.run(f"ss --no-header --numeric --tcp dst {b.ip} dport = 443").stdout.splitlines()
    return any(state == "SYN-SENT" or int(unsent) for state, _, unsent, *_ in map(str.split, rows))


GUNICORN = "gunicorn --config python:mxdeliv_app.serving.gunicorn_conf --bind 127.0.0.1:0"


@pytest.mark.parametrize(
    "program",
    [
        "chatmail-milter",
        "mxdeliv-relay",
        "chatmailctl config show",
        f"{GUNICORN} 'mxdeliv_app.web.app:app_from_environment()'",
        f"{GUNICORN} 'mxdeliv_app.dovecot.hooks.app:app_from_environment()'",
    ],
)
def test_unknown_key_in_the_config_stops_every_program(a: LabHost, program: str) -> None:
    bad = "/run/chatmail-bad.toml"
    a.run(f'printf \'[mail]\\ndomain = "_a.lab"\\nmax_mesage_size = "1MiB"\\n\' > {bad}')
    ran = a.run(f"CHATMAIL_CONFIG={bad} timeout 100 {PROGRAMS}/{program} 2>&1; echo exit $?")
    told, status = ran.stdout.splitlines()
    assert status == "exit 78"
    assert "mail.max_mesage_size" in told
    assert told.endswith("the nearest is mail.max_message_size")
