"""The playbook on a host that is already a relay: an older layout, a second run, a tag."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.chat import relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.e2e.conftest import Login
from tests.e2e.playbook import playbook
from tests.lab import Lab
from tests.lab.deployment import recap, steps
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

# What the playbook of before left, which used no package: units in /etc, a virtual environment in /opt.
EARLIER = r"""
set -eu
# It had no admin pages, no metrics and no web clients.
units=$(dpkg-query -L chatmail-milter | sed -n 's|^/lib/systemd/system/||p' \
    | grep -v -e chatmail-admin -e chatmail-orders -e chatmail-metrics -e chatmail-webimap)
mkdir -p /opt/chatmail/venvs
cp -a /usr/lib/chatmail-milter /opt/chatmail/venvs/0123456789abcdef
ln -s /opt/chatmail/venvs/0123456789abcdef /opt/chatmail/venv
ln -sf /usr/bin/python3 /opt/chatmail/venv/bin/python3
sed -i '1s|/usr/lib/chatmail-milter|/opt/chatmail/venv|' \
    $(grep -l '^#!/usr/lib/chatmail-milter' /opt/chatmail/venv/bin/*)
ln -s /opt/chatmail/venv/bin/chatmailctl /opt/chatmail/venv/bin/chatmail-expire /usr/local/bin
mkdir -p /etc/sysusers.d
cp /usr/lib/sysusers.d/chatmail-milter.conf /etc/sysusers.d/chatmail.conf
cd /etc/systemd/system
# Two sockets had other names.
before='s/relay-recipient-policy/relay-prospect/g; s/relay-dns-filter/relay-addresses/g'
for unit in $units; do
    sed "1s/.*/# Ansible managed/; s|/usr/lib/chatmail-milter|/opt/chatmail/venv|; $before" \
        /lib/systemd/system/$unit >$(echo $unit | sed "$before")
    rm -f $unit.d/chatmail.conf
done
ln -sf /etc/systemd/system/chatmail.target multi-user.target.wants/chatmail.target
DEBIAN_FRONTEND=noninteractive dpkg --remove chatmail-milter
rm -r /var/lib/dpkg/info/chatmail-milter.postrm /var/lib/chatmail-milter
systemctl daemon-reload
systemctl start chatmail.target
"""
# The programs of our services, by the words that they were started with.
STARTED = r"""
units=$(systemctl list-units --plain --no-legend --state=active 'chatmail-*.service' 'mxdeliv-*.service')
for unit in $(echo "$units" | cut -d' ' -f1); do
    tr '\0' ' ' </proc/$(systemctl show --property=MainPID --value $unit)/cmdline; echo
done
"""


def started(host: LabHost) -> set[str]:
    """The directories that our programs run from."""
    # A unit without a process leaves an empty line.
    lines = filter(str.strip, host.run(STARTED).stdout.splitlines())
    return {line.split()[0].rpartition("/bin/")[0] for line in lines if "chatmail" in line.split()[0]}


def changes(lab: Lab, host: LabHost) -> dict[str, int]:
    """Ansible's counts of a run."""
    done = playbook(lab, host)
    assert done.returncode == 0, done.stdout + done.stderr
    return recap(done.stdout).hosts[host.domain]


class TestEarlierLayout:
    @pytest.fixture(autouse=True)
    def _earlier(self, b: LabHost) -> None:
        b.run(EARLIER)
        assert started(b) == {"/opt/chatmail/venv"}

    def test_it_is_carried_over_and_mail_comes_in_meanwhile(
        self, lab: Lab, a: LabHost, b: LabHost, writer: Login, reader: Login
    ) -> None:
        done, sent = Event(), []

        def send() -> None:
            while not done.wait(2):
                sent.append(smtp.send(a.ip, writer, reader[0]))

        with ThreadPoolExecutor(1) as pool:
            sender = pool.submit(send)
            try:
                counts = changes(lab, b)
            finally:
                done.set()
            sender.result()
        assert counts["failed"] == 0
        assert len(sent) > 3

        def arrived() -> bool:
            a.run("postqueue -f")
            with ImapMailbox(b.ip, *reader) as mailbox:
                return all(mailbox.find(mid) for mid in sent)

        until("all of it is in the mailbox", arrived, 60, every=1)
        assert started(b) == {PROGRAMS.removesuffix("/bin")}
        assert relay.failed_units(b) == ""
        active = "systemctl is-active mxdeliv-relay-prospect.socket mxdeliv-relay-addresses.socket"
        assert b.run(active, check=False).stdout.split() == ["inactive", "inactive"]
        left = "/opt/chatmail /etc/sysusers.d/chatmail.conf /usr/local/bin/chatmailctl"
        assert b.run(f"ls -d {left} 2>/dev/null", check=False).stdout == ""
        ours = "-name 'chatmail*' -o -name 'mxdeliv*'"
        found = b.run(f"find /etc/systemd/system -maxdepth 1 -type f \\( {ours} \\) -printf '%f\\n'").stdout
        # Of other roles.
        others = ("chatmail-certificate", "chatmail-limits", "chatmail-loopback", "chatmail-turn")
        assert "chatmail-loopback.service" in found.split()
        assert [name for name in found.split() if not name.startswith(others)] == []
        link = "/etc/systemd/system/multi-user.target.wants/chatmail.target"
        assert b.run(f"readlink {link}").stdout == "/lib/systemd/system/chatmail.target\n"
        # As if the package had made them: a purge removes them.
        assert "user chatmail-milter" in b.run("cat /var/lib/chatmail-milter/made").stdout.splitlines()


def test_a_second_run_changes_nothing(lab: Lab, b: LabHost) -> None:
    """That of the earlier layout has none left to make, either."""
    counts = changes(lab, b)
    assert (counts["changed"], counts["failed"]) == (0, 0)
    assert counts["ok"] > 30


def test_a_tag_does_a_part_of_a_role(lab: Lab, b: LabHost) -> None:
    """What is seen with another value of a variable that several roles know."""
    done = playbook(lab, b, "--check", "--tags", "chatmail_configure", chatmail_max_recipients=999)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = {step.name: step.changed for step in steps(done.stdout.splitlines())}
    assert {name for name, changed in seen.items() if changed} == {
        "chatmail : Write the configuration",
        "chatmail : Write drop-ins with the host's settings for the package's units",
    }
    # What refuses a host is in each run.
    assert "chatmail : Refuse to replace configuration of others" in seen
    assert not {"chatmail : Start our programs", "dovecot : Enable Dovecot"} & set(seen)
