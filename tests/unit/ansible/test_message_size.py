"""One setting gives the largest message on each road: the playbook's files and our programs agree on it.

A message may gain octets on its way, so each program takes a mebibyte more than the one before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jinja2
import pytest

from chatmail_milter import config
from mxdeliv_app.https.post import Timeouts
from mxdeliv_app.relay import fallback
from tests.lab.plan import REPOSITORY
from tests.unit.postfix.rendered_postfix import services

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")

MIB = 1_048_576
DEFAULT = 75_497_472
NGINX = REPOSITORY / "ansible/roles/nginx/templates/nginx.conf.j2"
NGINX_BESIDE = REPOSITORY / "ansible/roles/beside/templates/nginx.conf.j2"
POSTFIX_BESIDE = REPOSITORY / "ansible/roles/beside/templates/master.cf.j2"
DOVECOT = REPOSITORY / "dovecot/2.3/dovecot.conf"
DOVECOT_2_4 = REPOSITORY / "dovecot/2.4/dovecot.conf"
each_size = pytest.mark.parametrize("size", [DEFAULT, 1_048_576, 5_000_000, 2_147_483_648])


@dataclass(frozen=True)
class Limits:
    """What each program takes, in octets, where users may send `size`."""

    size: int

    def line(self, path: Any, name: str) -> str:
        """What the first line of a template that begins so says, rendered."""
        found = re.search(rf"^ *{name}[ =]+(.+?);?$", path.read_text("utf-8"), re.M)
        assert found is not None
        text = (REPOSITORY / "ansible/roles/chatmail/vars/main.yml").read_text("utf-8")
        given: dict[str, Any] = {"chatmail_max_message_size": self.size}
        derived = yaml.safe_load(text)["chatmail_max_relayed_size"]
        given["chatmail_max_relayed_size"] = jinja2.Template(derived).render(given)
        return str(jinja2.Template(found[1]).render(given))

    def of_services(self, *, users: bool) -> set[int]:
        """Those of Postfix's services for our users, or of all others."""
        found = services("smtpd", chatmail_max_message_size=self.size)
        return {
            int(one.parameters["message_size_limit"])
            for one in found
            if (one.parameters.get("smtpd_sasl_auth_enable") == "yes") is users
        }

    @property
    def mail(self) -> config.MailSettings:
        """The settings of our programs, as the playbook writes them."""
        line = self.line(REPOSITORY / "ansible/roles/chatmail/templates/chatmail.toml.j2", "max_message_size")
        return config.parse(f'[mail]\ndomain = "a.test"\nmax_message_size = {line}').mail


def test_a_file_of_50_mib_fits() -> None:
    """As Delta Chat core 2.65 sent one of random octets, which it can't compress."""
    assert config.parse('mail = { domain = "a.test" }').mail.max_message_size == DEFAULT > 74_993_823


@each_size
def test_users_have_the_size_itself(size: int) -> None:
    limits = Limits(size)
    assert limits.of_services(users=True) == {size}
    assert limits.mail.max_message_size == size


@each_size
def test_peers_and_the_queue_have_a_mebibyte_more(size: int) -> None:
    limits = Limits(size)
    assert limits.of_services(users=False) == {size + MIB}
    assert limits.mail.max_relayed_size == size + MIB


@each_size
def test_nginx_and_dovecot_leave_a_refusal_to_who_gives_an_smtp_reply(size: int) -> None:
    limits = Limits(size)
    assert int(limits.line(NGINX, "client_max_body_size")) == size + 2 * MIB
    assert int(limits.line(DOVECOT, "quota_max_mail_size")) == size + 2 * MIB
    assert limits.line(DOVECOT_2_4, "quota_mail_size") == f"{size + 2 * MIB}B"
    beside = limits.line(NGINX_BESIDE, "client_max_body_size")
    assert size + MIB < int(beside.removesuffix("m")) * MIB <= size + 2 * MIB


@each_size
def test_postfix_waits_for_the_relay_for_as_long_as_it_takes(size: int) -> None:
    settings = config.parse('mail = { domain = "a.test" }')
    longest = Timeouts(settings.relay.attempt_timeout, Limits(size).mail.max_relayed_size).longest
    waits = {
        seconds.removesuffix("s")
        for one in services("lmtp", chatmail_max_message_size=size)
        + services("smtp", chatmail_max_message_size=size)
        for name, seconds in one.parameters.items()
        if name.endswith("_data_done_timeout")
    }
    assert [float(seconds) > longest + fallback.TIMEOUT for seconds in waits] == [True]


@each_size
def test_postfix_beside_other_domains_waits_as_long(size: int) -> None:
    seconds = Limits(size).line(POSTFIX_BESIDE, "-o lmtp_data_done_timeout").removesuffix("s")
    assert int(seconds) > Timeouts(30.0, size + MIB).longest + fallback.TIMEOUT
