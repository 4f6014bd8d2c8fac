"""The plan for a domain, from DNS, route, address literal and cache: hosts in order, names, refusals."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import ClassVar

import pytest

from chatmail_milter import codes
from chatmail_milter.store.endpoints import Endpoint
from chatmail_milter.store.routes import Route
from chatmail_milter.verdict import Verdict
from mxdeliv_app.https.allowed_addresses import AllowedAddresses, IPAddress
from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.dial import OwnHost
from mxdeliv_app.https.resolver import NameTroubleError, NoSuchDomainError, NullMxError
from mxdeliv_app.relay.routing import MAX_TARGETS, DeliveryPlan, Router


class DnsZone:
    """DNS as two dicts; a domain may have an error in place of hosts."""

    def __init__(
        self,
        hosts: dict[str, tuple[str, ...] | Exception] | None = None,
        addresses: dict[str, list[str]] | None = None,
    ) -> None:
        self.hosts = hosts or {}
        self.address_texts = addresses or {}

    def mail_hosts(self, domain: str) -> tuple[str, ...]:
        found = self.hosts.get(domain, (domain,))
        if isinstance(found, Exception):
            raise found
        return found

    def addresses(self, host: str) -> list[IPAddress]:
        return [ip_address(text) for text in self.address_texts.get(host, [])]


def plan(
    domain: str, zone: DnsZone | None = None, route: Route | None = None, host: str | None = None
) -> DeliveryPlan:
    known = Endpoint(domain, host, datetime.now(UTC), 0, None, None) if host else None
    found = router(zone or DnsZone(), route=route).plan(domain, known)
    assert isinstance(found, DeliveryPlan)
    return found


def router(zone: DnsZone, guard: AllowedAddresses | None = None, route: Route | None = None) -> Router:
    """Of a relay that calls itself here.test."""
    return Router(zone, guard or AllowedAddresses(), OwnHost("here.test", zone), lambda _domain: route)


def urls(found: DeliveryPlan) -> list[str]:
    return [target.url for target in found.targets]


def test_mx_hosts_in_order_then_the_domain_itself() -> None:
    zone = DnsZone({"example.org": ("mx1.example.org", "mx2.example.org")})
    assert urls(plan("example.org", zone)) == [
        "https://mx1.example.org/mxdeliv",
        "https://mx2.example.org/mxdeliv",
        "https://example.org/mxdeliv",
    ]


def test_domain_that_is_its_own_mx_is_asked_once() -> None:
    assert urls(plan("_b.lab", DnsZone({"_b.lab": ("_b.lab",)}))) == ["https://_b.lab/mxdeliv"]


def test_host_that_worked_last_comes_first() -> None:
    zone = DnsZone({"example.org": ("mx1.example.org", "mx2.example.org")})
    assert urls(plan("example.org", zone, host="example.org"))[0] == "https://example.org/mxdeliv"


def test_host_that_dns_no_longer_names_is_forgotten() -> None:
    zone = DnsZone({"example.org": ("mx1.example.org",)})
    assert "old" not in "".join(urls(plan("example.org", zone, host="old.example.org")))


def test_a_strangers_hundred_hosts_are_not_all_tried() -> None:
    zone = DnsZone({"example.org": tuple(f"mx{number}.example.org" for number in range(100))})
    assert len(plan("example.org", zone).targets) == MAX_TARGETS


@pytest.mark.parametrize("host", ["evil.test/x?", "a b.test", "user@evil.test", "evil.test:25", "Ünix.test"])
def test_host_that_is_no_name_never_gets_into_a_url(host: str) -> None:
    assert urls(plan("example.org", DnsZone({"example.org": (host,)}))) == ["https://example.org/mxdeliv"]


@pytest.mark.parametrize(
    ("domain", "verified"),
    [("example.org", True), ("_b.lab", False), ("[8.8.8.8]", False), ("[IPv6:2606:4700::1111]", False)],
)
def test_certificates_are_verified_for_names_only(domain: str, verified: bool) -> None:
    assert {target.verify for target in plan(domain).targets} == {verified}


def test_verification_follows_the_mail_domain_not_the_host() -> None:
    assert not plan("_b.lab", DnsZone({"_b.lab": ("mx.example.org",)})).targets[0].verify
    assert plan("example.org", DnsZone({"example.org": ("_mx.example.org",)})).targets[0].verify


def test_literal_is_its_own_host() -> None:
    assert urls(plan("[8.8.8.8]")) == ["https://8.8.8.8/mxdeliv"]
    assert urls(plan("[IPv6:2606:4700::1111]")) == ["https://[2606:4700::1111]/mxdeliv"]


@pytest.mark.parametrize(
    ("trouble", "verdict"),
    [
        (NoSuchDomainError(), codes.NO_SUCH_DOMAIN),
        (NullMxError(), codes.NULL_MX),
        (NameTroubleError(), codes.DNS_TROUBLE),
    ],
)
def test_what_dns_refuses(trouble: Exception, verdict: object) -> None:
    where = router(DnsZone({"example.org": trouble}))
    assert where.plan("example.org", None) is verdict
    assert where.smtp_refusal("example.org") is verdict


@pytest.mark.parametrize(
    "domain", ["[10.0.0.1]", "[IPv6:::1]", "[IPv6:::ffff:10.0.0.1]", "localhost", "a.localhost"]
)
def test_name_or_literal_of_a_special_address_is_refused_for_good(domain: str) -> None:
    # Whatever DNS says of localhost: RFC 6761, 6.3.
    zone = DnsZone(addresses={"localhost": ["8.8.8.8"], "a.localhost": ["8.8.8.8"]})
    found = router(zone).plan(domain, None)
    assert isinstance(found, Verdict)
    assert found.reply == "550 5.1.2 Recipient domain resolves to an address that is not public"
    allowed = router(
        zone, AllowedAddresses([ip_network(net) for net in ("10.0.0.0/8", "127.0.0.0/8", "::1/128")])
    )
    assert isinstance(allowed.plan(domain, None), DeliveryPlan)


class TestOwnHost:
    """RFC 5321, 5.1: mail hosts from this one on are not tried, and if none is left mail goes nowhere."""

    OURS: ClassVar = {"here.test": ["198.51.100.1", "2001:db8::1"]}

    def refusal(self, hosts: tuple[str, ...], addresses: dict[str, list[str]], domain: str = "x.test") -> str:
        found = router(DnsZone({domain: hosts}, self.OURS | addresses)).plan(domain, None)
        assert isinstance(found, Verdict)
        return found.reply

    LOOP = "550 5.4.6 Mail for the recipient domain would come back to this server"

    def test_the_only_mail_host_is_ours_by_name(self) -> None:
        assert self.refusal(("here.test",), {}) == self.LOOP

    @pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8::1"])
    def test_it_is_ours_by_address(self, address: str) -> None:
        assert self.refusal(("mx.x.test",), {"mx.x.test": ["8.8.8.8", address]}) == self.LOOP

    def test_domain_without_mx_at_our_address(self) -> None:
        assert self.refusal(("x.test",), {"x.test": ["198.51.100.1"]}) == self.LOOP

    def test_our_host_name_is_no_mail_domain(self) -> None:
        assert self.refusal(("here.test",), {}, domain="here.test") == self.LOOP

    @pytest.mark.parametrize("domain", ["[198.51.100.1]", "[IPv6:2001:db8::1]"])
    def test_our_address_as_a_literal(self, domain: str) -> None:
        assert self.refusal((), {}, domain=domain) == self.LOOP

    def test_what_comes_after_us_is_not_tried(self) -> None:
        zone = DnsZone({"x.test": ("mx1.x.test", "here.test", "mx3.x.test")}, self.OURS)
        assert urls(plan("x.test", zone)) == ["https://mx1.x.test/mxdeliv"]

    def test_route_of_the_operator_comes_first(self) -> None:
        zone = DnsZone({"x.test": ("here.test",)}, self.OURS)
        assert urls(plan("x.test", zone, Route("x.test", "mail.x.test"))) == ["https://mail.x.test/mxdeliv"]

    def test_relay_whose_name_is_a_literal(self) -> None:
        zone = DnsZone({"x.test": ("mx.x.test",)}, {"mx.x.test": ["8.8.8.8"]})
        found = Router(zone, AllowedAddresses(), OwnHost("[8.8.8.8]", zone), lambda _domain: None).plan(
            "x.test", None
        )
        assert found is codes.MAIL_LOOP

    def test_dns_that_does_not_answer_is_no_loop(self) -> None:
        class Ill(DnsZone):
            def addresses(self, host: str) -> list[IPAddress]:
                raise NameTroubleError

        assert urls(plan("x.test", Ill({"x.test": ("mx.x.test",)})))[0] == "https://mx.x.test/mxdeliv"


class TestRoutes:
    def test_host(self) -> None:
        route = Route("example.org", "mail.example.net")
        assert plan("example.org", route=route).targets == (Target("mail.example.net"),)

    def test_ip_address_keeps_the_domains_name_for_tls(self) -> None:
        route = Route("example.org", "9.9.9.9")
        (target,) = plan("example.org", route=route).targets
        assert (target.url, target.pinned) == ("https://example.org/mxdeliv", ip_address("9.9.9.9"))
        assert target.verify

    def test_url(self) -> None:
        route = Route("example.org", "https://mail.example.net:8443/in")
        assert urls(plan("example.org", route=route)) == ["https://mail.example.net:8443/in"]

    def test_url_without_path_has_the_usual_one(self) -> None:
        route = Route("example.org", "https://mail.example.net:8443")
        assert urls(plan("example.org", route=route)) == ["https://mail.example.net:8443/mxdeliv"]

    def test_asks_no_dns(self) -> None:
        zone = DnsZone({"example.org": NoSuchDomainError()})
        assert plan("example.org", zone, Route("example.org", "9.9.9.9")).routed

    def test_without_target_keeps_the_usual_hosts(self) -> None:
        found = plan("example.org", route=Route("example.org", https="never"))
        assert (urls(found), found.https, found.routed) == (["https://example.org/mxdeliv"], "never", False)

    @pytest.mark.parametrize("verify", [True, False])
    def test_verify_overrides_the_rule(self, verify: bool) -> None:
        for domain in ("_b.lab", "example.org"):
            assert plan(domain, route=Route(domain, verify=verify)).targets[0].verify is verify


class TestSmtp:
    def refusal(self, domain: str, zone: DnsZone, allowed: str = "192.0.2.0/24") -> object:
        return router(zone, AllowedAddresses([ip_network(allowed)])).smtp_refusal(domain)

    def test_public_hosts_are_postfixs(self) -> None:
        zone = DnsZone({"example.org": ("mx",)}, {"mx": ["8.8.8.8", "2606:4700::1111"]})
        assert self.refusal("example.org", zone) is None

    def test_special_addresses_among_others_are_ignored(self) -> None:
        zone = DnsZone(
            {"example.org": ("mx1", "mx2")}, {"mx1": ["10.0.0.1"], "mx2": ["127.0.0.1", "8.8.4.4"]}
        )
        assert self.refusal("example.org", zone) is None

    def test_where_none_is_left_it_is_tried_again_later(self) -> None:
        zone = DnsZone({"example.org": ("mx1", "mx2")}, {"mx1": ["10.0.0.1"], "mx2": ["::1"]})
        assert self.refusal("example.org", zone) is codes.NO_PUBLIC_ADDRESS
        assert codes.NO_PUBLIC_ADDRESS.code == 451

    def test_allowed_network(self) -> None:
        assert self.refusal("a.lab", DnsZone(addresses={"a.lab": ["192.0.2.7"]})) is None

    def test_no_address_at_all(self) -> None:
        assert self.refusal("example.org", DnsZone()) is codes.NO_HOST

    def test_literals(self) -> None:
        assert self.refusal("[8.8.8.8]", DnsZone()) is None
        assert self.refusal("[10.0.0.1]", DnsZone()) is codes.FORBIDDEN_ADDRESS
