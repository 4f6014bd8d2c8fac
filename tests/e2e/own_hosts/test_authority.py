"""site.yml deploys a relay with a certificate of an ACME authority, and later with one of its operator."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e.own_hosts import acme, dynamic_dns
from tests.e2e.own_hosts.dynamic_dns import DynamicZone
from tests.e2e.own_hosts.whole import SECONDS, certificates, deploy
from tests.e2e.playbook import words
from tests.e2e.test_unreadable import READ as CAN_READ
from tests.lab import Lab, ca, passing
from tests.lab.deployment import recap
from tests.lab.host import LabHost
from tests.lab.plan import OTHER
from tests.lab.wait import until

# What it is deployed with.
BY_NAME = {"chatmail_domain": OTHER.domain, "chatmail_acme_directory": acme.DIRECTORY}
# For certbot's plugin, of a key that the name server knows.
CREDENTIALS = f"""\
dns_rfc2136_server = {{server}}
dns_rfc2136_port = {dynamic_dns.PORT}
dns_rfc2136_name = {dynamic_dns.KEY}
dns_rfc2136_secret = {dynamic_dns.SECRET}
dns_rfc2136_algorithm = HMAC-SHA512
"""


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
        done = deploy(hosts, host, **BY_NAME)
        assert done.returncode == 0, done.stdout
        yield host


class TestAuthority:
    def test_all_servers_have_its_certificate(self, named: LabHost) -> None:
        self.await_issuer(named, acme.ISSUER)
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
        self.await_issuer(named, acme.ISSUER)

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
        self.await_issuer(named, acme.ISSUER)
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
        # Servers that are told to read it again serve what they had for a moment more.
        self.await_issuer(named, "Chatmail lab CA")
        (one, *others) = certificates(named)
        assert others == [one] * 3

    def test_of_a_program_on_the_host_each_one_is_served(
        self, hosts: Lab, named: LabHost, tmp_path: Path
    ) -> None:
        before = certificates(named)[0]
        places = {"chatmail_tls_certificate": "/srv/tls/chain.pem", "chatmail_tls_key": "/srv/tls/key.pem"}
        self.put(named, places, self.given(hosts, tmp_path / "first"))
        done = deploy(hosts, named, **BY_NAME, **places, chatmail_tls_mode="given")
        assert done.returncode == 0, done.stdout
        self.await_another(named, before)
        (one, *others) = certificates(named)
        assert others == [one] * 3
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
        def replaced() -> bool:
            with suppress(OSError):  # of a server that begins anew just now
                return before not in certificates(host)
            return False

        until(replaced, SECONDS, "some server has the certificate of before")

    @classmethod
    def await_issuer(cls, host: LabHost, name: str) -> None:
        def is_it() -> bool:
            with suppress(OSError):
                return cls.issuers(host) == {name}
            return False

        until(is_it, SECONDS, f"some server has a certificate that is not of {name}")
