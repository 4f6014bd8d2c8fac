"""Login links, in the form that chatmail apps read."""

from __future__ import annotations

import pytest

from chatmail_milter import config
from chatmail_milter.accounts import credentials


def settings(domain: str, hostname: str = "") -> config.Config:
    host = f'hostname = "{hostname}"\n' if hostname else ""
    return config.parse(f'[mail]\ndomain = "{domain}"\n{host}')


@pytest.mark.parametrize(
    ("domain", "hostname", "token", "link"),
    [
        ("a.test", "", None, "dcaccount:https://a.test/new"),
        ("a.test", "mx.a.test", None, "dcaccount:https://mx.a.test/new"),
        ("[1.2.3.4]", "", None, "dcaccount:https://1.2.3.4/new"),
        ("[IPv6:2001:db8::1]", "", None, "dcaccount:https://[2001:db8::1]/new"),
        ("a.test", "", "x-Y_9", "dcaccount:https://a.test/new?token=x-Y_9"),
    ],
)
def test_an_account_to_make(domain: str, hostname: str, token: str | None, link: str) -> None:
    assert credentials.dcaccount(settings(domain, hostname), token) == link


def test_an_account_to_log_in_to() -> None:
    assert credentials.dclogin(settings("a.test", "mx.a.test"), "alice@a.test", "a +&=?%/ü") == (
        "dclogin:alice@a.test?p=a%20%2B%26%3D%3F%25%2F%C3%BC&v=1"
        "&ih=mx.a.test&ip=993&is=ssl&sh=mx.a.test&sp=465&ss=ssl"
    )


def test_an_address_at_a_literal_is_encoded_and_no_authority_vouches_for_it() -> None:
    assert credentials.dclogin(settings("[1.2.3.4]"), "alice@[1.2.3.4]", "x") == (
        "dclogin:alice@%5B1.2.3.4%5D?p=x&v=1&ih=1.2.3.4&ip=993&is=ssl&ic=3&sh=1.2.3.4&sp=465&ss=ssl&sc=3"
    )
