"""`chatmailctl doctor` on a real relay: no finding on a sound one, and its advice repairs a broken one."""

from __future__ import annotations

import json

from tests.chat import firewall, pgp, relay, smtp
from tests.chat.deadline import until
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

SUBJECTS = ("services", "store", "ports", "sockets", "certificates", "versions")


def found(host: LabHost, *subjects: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and what is not good, by what it is."""
    words = [word for subject in subjects for word in ("--only", subject)]
    status, findings = relay.asked(host, "doctor", *words)
    assert {one["subject"] for one in findings} == set(subjects)
    return status, {one["what"]: one for one in findings if one["state"] != "good"}


def test_a_sound_relay_has_nothing_to_mend(a: LabHost) -> None:
    assert found(a, *SUBJECTS) == (0, {})


def test_each_port_shows_its_certificate(a: LabHost) -> None:
    _, findings = relay.asked(a, "doctor", "--only", "certificates")
    assert {one["what"] for one in findings} == {f"{a.domain}:{port}" for port in (25, 443, 465, 587, 993)}
    assert {one["state"] for one in findings} == {"good"}


def test_its_records_are_published(a: LabHost) -> None:
    _, findings = relay.asked(a, "doctor", "--only", "dns")
    good = {one["what"] for one in findings if one["state"] == "good"}
    assert {f"{a.domain} MX", f"{a.domain} TXT"} <= good
    # The lab publishes no reverse names.
    assert [one for one in findings if one["what"] not in good and not one["what"].endswith(" PTR")] == []


def test_its_advice_starts_what_was_stopped(a: LabHost) -> None:
    # A timer: nobody's question starts it meanwhile.
    a.run("systemctl stop chatmail-expire.timer")
    status, wrong = found(a, "services")
    assert status == 1
    assert [*wrong] == ["chatmail-expire.timer"]
    a.run(wrong["chatmail-expire.timer"]["mend"])
    assert found(a, "services") == (0, {})


def test_a_socket_that_is_open_to_all_is_found(a: LabHost) -> None:
    place = "/run/dovecot"
    mode = a.run(f"stat -c %a {place}").stdout.strip()
    bind = f'import socket; socket.socket(socket.AF_UNIX).bind("{place}/x")'
    try:
        a.run(f"chmod 755 {place} && python3 -c '{bind}' && chmod 666 {place}/x")
        status, wrong = found(a, "sockets")
        assert status == 1
        assert f"{place}/x" in wrong
    finally:
        a.run(f"rm {place}/x; chmod {mode} {place}")


def test_what_was_changed_since_the_playbook_and_what_nothing_reads_is_found(a: LabHost) -> None:
    # What tests before have changed is not this test's.
    _, before = found(a, "files")
    place, file = "/etc/systemd/system/mxdeliv-relay-prospect.socket.d", "/etc/nginx/conf.d/own.conf"
    changed = "/etc/postfix/master.cf"
    assert not {place, file, changed} & before.keys()
    a.run(f"mkdir {place} && printf '[Socket]\\nBacklog=9\\n' >{place}/own.conf")
    a.run(f"echo 'gzip off;' >{file} && cp -a {changed} {changed}.kept && echo '# mine' >>{changed}")
    a.run("echo smtpd_recipent_limit = 5 >>/etc/postfix/main.cf")
    try:
        status, wrong = found(a, "files")
    finally:
        a.run(f"rm -r {place} {file}; mv {changed}.kept {changed}; sed -i '$d' /etc/postfix/main.cf")
    assert status == 1
    new = {what: one["found"] for what, one in wrong.items() if what not in before}
    assert new == {
        place: "there is no unit mxdeliv-relay-prospect.socket",
        file: "/etc/nginx/nginx.conf does not include it",
        changed: "was changed after the playbook wrote it",
        "/etc/postfix/main.cf": "was changed after the playbook wrote it",
        "/etc/postfix/main.cf: smtpd_recipent_limit": "is no parameter of Postfix, and no other one uses it",
    }
    assert found(a, "files")[1] == before


def test_a_service_that_runs_since_before_its_update_is_found(a: LabHost) -> None:
    # As dpkg does when it unpacks the package, an hour after the service was started.
    listed = "/var/lib/dpkg/info/opendkim.list"
    since = int(a.run(f"stat -c %Y {listed}").stdout)
    a.run(f"touch --date='1 hour' {listed}")
    try:
        status, wrong = found(a, "versions")
    finally:
        a.run(f"touch --date=@{since} {listed}")
    assert (status, [*wrong]) == (1, ["opendkim"])
    assert wrong["opendkim"]["mend"] == "systemctl restart opendkim.service"
    assert found(a, "versions") == (0, {})


def test_ports_that_are_blocked_on_the_way_out_are_found(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    message = pgp.encrypted(writer[0], reader[0], pgp.message_id())
    assert smtp.submit(a.ip, writer, [reader[0]], message).code == 250
    until("b has taken mail", lambda: relay.successes(a, b.domain, "https"), 30)
    assert found(a, "outbound") == (0, {})
    with firewall.blocked_outbound(a, 25):
        status, wrong = found(a, "outbound")
    assert (status, [*wrong]) == (1, ["TCP 25"])
    assert b.domain in wrong["TCP 25"]["found"]


def test_another_host_sees_a_relay_as_clients_and_peers_do(a: LabHost, b: LabHost) -> None:
    ask = f"CHATMAIL_CONFIG=/absent chatmailctl doctor --of {a.domain} --json"
    sound = {one["what"]: one for one in json.loads(b.run(ask, check=False).stdout)}
    assert {one["subject"] for one in sound.values()} == {"ports", "certificates", "dns", "mxdeliv"}
    # The lab publishes no reverse names.
    assert all(what.endswith(" PTR") for what, one in sound.items() if one["state"] != "good"), sound
    with firewall.closed(a, 993, "refuse"):
        seen = json.loads(b.run(ask, check=False).stdout)
    bad = {one["what"] for one in seen if one["subject"] == "ports" and one["state"] == "bad"}
    assert bad
    assert all(what.endswith(" 993") for what in bad), bad


def test_an_optional_record_that_does_not_fit_is_found(a: LabHost) -> None:
    """The lab publishes none; asked is as on the relay, with an answer of another certificate."""
    code = (
        "import json\n"
        "from chatmail_milter.doctor import optional_records\n"
        f"look = lambda one: {{'3 1 1 ' + 'ab' * 32}} if one.rdtype.name == 'TLSA' else set()\n"
        f"print(json.dumps([one.mend for one in optional_records.check('{a.domain}', '{a.domain}', look)]))"
    )
    (mend,) = json.loads(a.run(f"{PROGRAMS}/python3 -", input=code).stdout)
    digest = a.run(
        f"openssl s_client -starttls smtp -connect 127.0.0.1:25 -servername {a.domain} </dev/null 2>/dev/null"
        " | openssl x509 -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum"
    ).stdout.split()[0]
    assert mend == f"publish: _25._tcp.{a.domain}. TLSA 3 1 1 {digest}"
