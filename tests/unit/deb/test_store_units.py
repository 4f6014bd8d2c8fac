"""Units of programs that open the store may connect to a database server on another host if configured."""

from __future__ import annotations

import re

import pytest

from deb import units

THERE = {
    "chatmail_store_url": "postgresql://db.test/chatmail",
    "chatmail_store_addresses": ["192.0.2.7", "2001:db8::/64"],
}
OPENS = (
    "chatmail-admin",
    "chatmail-expire",
    "chatmail-hooks",
    "chatmail-milter",
    "chatmail-push",
    "chatmail-recipients",
    "mxdeliv-app",
    "mxdeliv-relay",
)


def together(name: str) -> str:
    """The package's unit, and the drop-in of the playbook after it, as systemd reads them."""
    drop_in = units.variables()["chatmail_drop_ins"][f"{name}.service"]
    return units.render(f"units/{name}.service.j2") + units.render(drop_in)


def last(unit: str, key: str) -> str | None:
    found = re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)
    return found[-1] if found else None


@pytest.mark.parametrize("name", OPENS)
def test_where_the_store_is_elsewhere_each_of_them_may_connect_to_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = units.variables()
    monkeypatch.setattr(units, "variables", lambda: known | THERE)
    unit = together(name)
    assert last(unit, "PrivateNetwork") == "no"
    assert last(unit, "RestrictAddressFamilies") == "AF_INET AF_INET6"
    assert last(unit, "IPAddressAllow") == "localhost 192.0.2.7 2001:db8::/64"
    assert last(unit, "After") == "postgresql.service"


@pytest.mark.parametrize("name", ["chatmail-expire", "chatmail-milter", "chatmail-recipients"])
def test_with_a_file_or_a_socket_of_this_host_they_reach_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = units.variables()
    for url in (known["chatmail_store_url"], "postgresql:///chatmail?host=/run/postgresql"):
        there = known | {"chatmail_store_url": url}
        monkeypatch.setattr(units, "variables", lambda there=there: there)
        unit = together(name)
        assert last(unit, "PrivateNetwork") == "yes"
        assert "IPAddressAllow" not in unit
