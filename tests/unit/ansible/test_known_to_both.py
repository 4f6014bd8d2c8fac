"""What the playbook and our programs both know, each in its own language, is the same in both."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

import pytest

from chatmail_milter.address import network_of, site_of
from chatmail_milter.doctor import services, versions
from tests.lab.plan import REPOSITORY, SUITES, Host

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")

ROLES = REPOSITORY / "ansible/roles"


def variables(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLES / role / "vars/main.yml").read_text("utf-8"))
    return found


def is_one(octets: int, of_program: Callable[[IPv6Address], str]) -> bool:
    """Whether addresses count as one network by their first octets, and by no more of them."""
    one = IPv6Address("2001:db8::")
    inside = IPv6Address(int(one) + (1 << 8 * (16 - octets)) - 1)
    outside = IPv6Address(int(inside) + 1)
    return of_program(one) == of_program(inside) != of_program(outside)


def test_an_ipv6_network_is_as_long_for_nginx_and_the_packet_filter_as_for_our_programs() -> None:
    text = (ROLES / "nginx/templates/nginx.conf.j2").read_text("utf-8")
    maps = dict(re.findall(r"map \$binary_remote_addr \$(\w+) \{.*?\(\?<\w+>\.\{(\d+)\}\)", text, re.S))
    assert maps.keys() == {"network", "network_of_443", "site"}
    assert is_one(int(maps["network"]), network_of)
    assert is_one(int(maps["network_of_443"]), network_of)
    assert is_one(int(maps["site"]), site_of)
    text = (ROLES / "connection_limits/templates/limits.nft.j2").read_text("utf-8")
    masks = {len(IPv6Address(mask).packed.rstrip(b"\0")) for mask in re.findall(r"ip6 saddr & (\S+)", text)}
    assert masks == {int(octets) for octets in maps.values()}


def test_postfix_runs_in_the_same_unit_of_each_release() -> None:
    names = variables("chatmail")["chatmail_postfix_units"]
    units = {number: f"{name}.service" for number, name in names.items()}
    assert units == {"12": services.INSTANCE, "13": services.POSTFIX}
    watched = {unit for unit, package in versions.PACKAGES.items() if package == "postfix"}
    assert watched == set(units.values())
    files = {number: unit["file"] for number, unit in variables("postfix")["postfix_units"].items()}
    assert files == {number: re.sub("@.*", "@.service", unit) for number, unit in units.items()}
    assert names == {
        number: Host("x", "x.lab", "10.77.0.1", True, release=number).postfix for number in SUITES
    }
