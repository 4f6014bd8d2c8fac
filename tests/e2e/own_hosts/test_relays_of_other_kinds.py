"""site.yml deploys other relays: with an address as domain, and with an authority's certificate."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.chat import mxdeliv, pgp, relay, signature
from tests.chat.core import Core
from tests.chat.imap import ImapMailbox
from tests.chat.person import Person, fresh_address, fresh_password
from tests.chat.stage import Stage
from tests.e2e.own_hosts import acme, dynamic_dns
from tests.e2e.own_hosts.dynamic_dns import DynamicZone
from tests.e2e.own_hosts.whole import SECONDS, begin, certificates, deploy
from tests.e2e.playbook import words
from tests.e2e.test_unreadable import READ as CAN_READ
from tests.lab import Lab, ca, passing
from tests.lab.deployment import recap
from tests.lab.host import LabHost
from tests.lab.plan import OTHER
from tests.lab.wait import until

LITERAL = f"[{OTHER.ip}]"
SENDER = "someone12345@peer.lab"
# Not among the ports that the role's filter leaves open.
CLOSED = 8000
# What each of the two is deployed with.
BY_ADDRESS: dict[str, Any] = {"chatmail_domain": LITERAL, "nftables_enabled": True}
BY_NAME = {"chatmail_domain": OTHER.domain, "chatmail_acme_directory": acme.DIRECTORY}
# For certbot's plugin, of a key that the name server knows.
CREDENTIALS = f"""\
dns_rfc2136_server = {{server}}
dns_rfc2136_port = {dynamic_dns.PORT}
dns_rfc2136_name = {dynamic_dns.KEY}
dns_rfc2136_secret = {dynamic_dns.SECRET}
dns_rfc2136_algorithm = HMAC-SHA512
"""


def deployed(hosts: Lab, host: LabHost, **variables: Any) -> LabHost:
    done = deploy(hosts, host, **variables)
    assert done.returncode == 0, done.stdout
    return host


@pytest.fixture(scope="class")
def literal(hosts: Lab) -> Iterator[LabHost]:
    """Deployed by a run that was cut, and by the next one."""
    with passing.up(OTHER, hosts.paths) as host:
        # Our programs run by then, and nothing that they need.
        assert begin(hosts, host, "Write Dovecot's configuration", **BY_ADDRESS)
        host.run("systemctl is-active chatmail-milter")
        # Both runs are as operators start them.
        yield deployed(hosts, host, mitogen=False, **BY_ADDRESS)


@pytest.fixture(scope="class")
def zone(hosts: Lab) -> Iterator[DynamicZone]:
    """What the authority asks."""
    with dynamic_dns.name_server(hosts.host("client").host) as zone:
        yield zone


@pytest.fixture(scope="class")
def named(hosts: Lab, zone: DynamicZone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    assert zone
    place = tmp_path_factory.mktemp("acme")
    with acme.authority(hosts, place), passing.up(OTHER, hosts.paths) as host:
        yield deployed(hosts, host, **BY_NAME)


class TestAddressLiteral:
    """Its domain is an address literal (RFC 5321, 4.1.3), and it has our example of a packet filter."""

    def test_two_people_with_links_of_the_operator_write_to_each_other(
        self, hosts: Lab, literal: LabHost
    ) -> None:
        with Core(hosts.netns("client")) as core:
            stage = Stage(hosts, core)
            one, other = self.guest(core, literal), self.guest(core, literal)
            stage.acquaint(one, other)
            for sender, receiver in ((one, other), (other, one)):
                stage.say(sender, receiver, SECONDS)

    @staticmethod
    def guest(core: Core, host: LabHost) -> Person:
        """The link tells the app to take the host's own certificate."""
        made: dict[str, str] = relay.ctl(host, "account", "create")
        guest = Person(core, made["address"], made["password"])
        guest.log_in_by(made["link"])
        return guest

    def test_a_peer_s_mail_comes_in(self, hosts: Lab, literal: LabHost) -> None:
        login, mid = (fresh_address(LITERAL), fresh_password()), pgp.message_id()
        with ImapMailbox(literal.ip, *login) as mailbox:
            message = signature.sign(pgp.encrypted(SENDER, login[0], mid), "peer.lab", hosts.paths)
            answer = mxdeliv.post(literal, SENDER, [login[0]], message, Host=literal.ip)
            assert answer.status == 200, answer.line
            until(lambda: mailbox.find(mid), SECONDS, "the message did not come")

    def test_a_second_run_changes_nothing(self, hosts: Lab, literal: LabHost) -> None:
        done = deploy(hosts, literal, **BY_ADDRESS)
        assert (done.returncode, recap(done.stdout).changed) == (0, 0), done.stdout

    def test_what_listens_on_another_port_is_not_reached(self, literal: LabHost) -> None:
        listen = f"import socket, time; one = socket.create_server(('', {CLOSED})); time.sleep(600)"
        literal.run(["systemd-run", "--quiet", "--unit=listening", "python3", "-c", listen])
        try:
            until(lambda: literal.run(f"ss -Hltn sport = :{CLOSED}").stdout, SECONDS, "it does not listen")
            literal.run(f"timeout 5 bash -c '</dev/tcp/127.0.0.1/{CLOSED}'")
            for port in (22, 25, 80, 143, 443, 465, 587, 993):
                socket.create_connection((literal.ip, port), SECONDS).close()
            with pytest.raises(TimeoutError):
                socket.create_connection((literal.ip, CLOSED), 3)
        finally:
            literal.run("systemctl stop listening")


class TestAuthority:
    """Its certificate is from an ACME authority, and later from its operator."""

    def test_all_servers_have_its_certificate(self, named: LabHost) -> None:
        until(lambda: self.issuers(named) == {acme.ISSUER}, SECONDS, "others have another certificate")
        (one, *others) = certificates(named)
        assert others == [one] * 3
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(names.get_values_for_type(x509.DNSName)) == {OTHER.domain, f"autoconfig.{OTHER.domain}"}

    def test_a_second_run_changes_nothing(self, hosts: Lab, named: LabHost) -> None:
        done = deploy(hosts, named, **BY_NAME)
        assert (done.returncode, recap(done.stdout).changed) == (0, 0), done.stdout

    def test_a_renewed_one_is_served_without_the_playbook(self, named: LabHost) -> None:
        before = certificates(named)[0]
        named.run("certbot renew --force-renewal --no-random-sleep-on-renew")
        self.await_another(named, before)
        assert self.issuers(named) == {acme.ISSUER}

    def test_by_dns_the_authority_asks_no_web_server(
        self, hosts: Lab, named: LabHost, zone: DynamicZone, tmp_path: Path
    ) -> None:
        credentials = tmp_path / "credentials.ini"
        credentials.write_text(CREDENTIALS.format(server=hosts.host("client").ip))
        before = certificates(named)[0]
        # By itself the plugin waits a minute for other name servers.
        named.run("echo dns-rfc2136-propagation-seconds = 1 >/etc/letsencrypt/cli.ini")
        named.run("certbot delete --non-interactive --cert-name chatmail")
        by_dns = {"chatmail_acme_dns_plugin": "rfc2136", "chatmail_acme_dns_credentials": str(credentials)}
        named.drop_port(80)
        try:
            done = deploy(hosts, named, **BY_NAME, **by_dns)
        finally:
            named.restore_port(80)
        assert done.returncode == 0, done.stdout
        self.await_another(named, before)
        assert self.issuers(named) == {acme.ISSUER}
        # One for each name.
        assert zone.updates >= 2
        users = ("root", "chatmail-milter", "nobody")
        readers = named.run(["sh", "-c", CAN_READ, "sh", "/etc/chatmail/acme-dns.ini", *users]).stdout
        assert set(readers.split()) == {"root"}

    def test_a_key_of_another_certificate_is_refused(
        self, hosts: Lab, named: LabHost, tmp_path: Path
    ) -> None:
        before = certificates(named)
        certificate, _ = self.given(hosts, tmp_path / "one")
        _, key = self.given(hosts, tmp_path / "other")
        done = deploy(hosts, named, **BY_NAME, **self.files(certificate, key))
        assert done.returncode != 0
        assert f"{key} is not the key of {certificate}" in words(done)
        assert certificates(named) == before

    def test_a_given_one_is_served(self, hosts: Lab, named: LabHost, tmp_path: Path) -> None:
        done = deploy(hosts, named, **BY_NAME, **self.files(*self.given(hosts, tmp_path / "given")))
        assert done.returncode == 0, done.stdout
        (one, *others) = certificates(named)
        assert others == [one] * 3
        assert self.issuers(named) == {"Chatmail lab CA"}

    def test_of_a_program_on_the_host_each_one_is_served(
        self, hosts: Lab, named: LabHost, tmp_path: Path
    ) -> None:
        before = certificates(named)[0]
        places = {"chatmail_tls_certificate": "/srv/tls/chain.pem", "chatmail_tls_key": "/srv/tls/key.pem"}
        self.put(named, places, self.given(hosts, tmp_path / "first"))
        done = deploy(hosts, named, **BY_NAME, **places, chatmail_tls_mode="given")
        assert done.returncode == 0, done.stdout
        (one, *others) = certificates(named)
        assert others == [one] * 3
        assert one != before
        self.put(named, places, self.given(hosts, tmp_path / "next"))
        self.await_another(named, one)

    @staticmethod
    def put(host: LabHost, places: dict[str, str], files: tuple[Path, Path]) -> None:
        """Write a certificate and its key on the host, one after the other."""
        for place, file in zip(places.values(), files, strict=True):
            host.run(["sh", "-ec", f"mkdir -p /srv/tls; umask 077; cat >{place}"], input=file.read_text())

    @staticmethod
    def issuers(host: LabHost) -> set[str]:
        """Their common names, without the number that pebble gives itself at each start."""
        names = [str(one.issuer.rfc4514_string().rpartition("CN=")[2]) for one in certificates(host)]
        return {name.partition(" CA ")[0] if name.startswith(acme.ISSUER) else name for name in names}

    @staticmethod
    def given(hosts: Lab, place: Path) -> tuple[Path, Path]:
        """A certificate of the lab's authority, and its key."""
        place.mkdir()
        found = ca.issue(hosts.paths.ca, [OTHER.domain])
        return Path(shutil.copy(found[0], place)), Path(shutil.copy(found[1], place))

    @staticmethod
    def files(certificate: Path, key: Path) -> dict[str, str]:
        return {
            "chatmail_tls_given_certificate": str(certificate),
            "chatmail_tls_given_key": str(key),
        }

    @staticmethod
    def await_another(host: LabHost, before: x509.Certificate) -> None:
        until(lambda: before not in certificates(host), SECONDS, "some server has the certificate of before")
