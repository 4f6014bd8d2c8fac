"""Rules that each service of master.cf that accepts or sends mail must follow."""

from __future__ import annotations

import re

import pytest

from tests.unit.postfix.rendered_postfix import MasterService, services

# Debian 12's Postfix makes these depend on `stress`, or smaller than a message's recipients.
ERROR_LIMITS = ["smtpd_soft_error_limit", "smtpd_hard_error_limit"]

entries = services("smtpd")
each_entry = pytest.mark.parametrize("entry", entries, ids=lambda entry: str(entry.name))
exits = services("smtp") + services("lmtp")
each_exit = pytest.mark.parametrize("exit_", exits, ids=lambda exit_: str(exit_.name))


def test_all_are_found() -> None:
    assert [entry.name for entry in entries] == [
        "smtp",
        "10125",
        "127.0.0.1:10025",
        "127.0.0.1:10029",
        "submission",
        "submissions",
        "10587",
        "10465",
        "127.0.0.1:11465",
        "127.0.0.1:10026",
    ]
    assert [exit_.name for exit_ in exits] == ["smtp-mx", "lmtp", "mxdeliv"]


@pytest.mark.parametrize("recipients", [1, 1000, 5000])
@pytest.mark.parametrize("parameter", ERROR_LIMITS)
def test_as_many_recipients_as_a_message_may_have_may_be_unknown(parameter: str, recipients: int) -> None:
    for entry in services("smtpd", chatmail_max_recipients=recipients):
        assert int(entry.parameters[parameter]) > recipients, entry.name
        assert entry.parameters["smtpd_recipient_limit"] == str(recipients)


@each_entry
def test_first_it_answers_slowly_then_it_hangs_up(entry: MasterService) -> None:
    soft, hard = (int(entry.parameters[name]) for name in ERROR_LIMITS)
    assert soft < hard


@each_entry
def test_errors_count_under_stress_as_ever(entry: MasterService) -> None:
    # smtpd(8): what has a limit of its own under stress, time limits aside.
    for name in [*ERROR_LIMITS, "smtpd_junk_command_limit"]:
        assert re.fullmatch("[0-9]+", entry.parameters[name]), name
    assert int(entry.parameters["smtpd_junk_command_limit"]) >= 100


@each_exit
def test_no_line_is_broken(exit_: MasterService) -> None:
    # postconf(5): 0 is no limit. smtp(8) as LMTP's client reads its own parameters by another name.
    prefix = "lmtp" if exit_.program == "lmtp" else "smtp"
    assert exit_.parameters[f"{prefix}_line_length_limit"] == "0"


@each_exit
def test_no_way_out_offers_ciphers_without_a_certificate(exit_: MasterService) -> None:
    # postconf(5): smtp(8) as LMTP's client reads its own parameters by another name, and speaks no TLS here.
    assert exit_.program == "lmtp" or exit_.parameters["smtp_tls_exclude_ciphers"] == "aNULL"


def test_the_relay_alone_is_told_the_queue_id() -> None:
    # To another server XFORWARD would tell whose client sent the message (XFORWARD_README).
    told = [one.name for one in exits if "yes" in {v for k, v in one.parameters.items() if "xforward" in k}]
    assert told == ["mxdeliv"]
    assert all(one.parameters.get("smtp_send_xforward_command", "no") == "no" for one in exits)


@pytest.mark.parametrize("hostname", ["mx.a.example", "[192.0.2.7]", "[IPv6:2001:db8::7]"])
def test_each_way_in_greets_with_the_host_s_name(hostname: str) -> None:
    # RFC 5321, 4.2: the domain, or the address literal of a host that has none, comes first.
    bare = hostname.strip("[]").removeprefix("IPv6:")
    for entry in services("smtpd", chatmail_hostname=hostname, chatmail_hostname_bare=bare):
        assert entry.parameters["smtpd_banner"] == f"{hostname} ESMTP"
