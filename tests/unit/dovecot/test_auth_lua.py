"""Dovecot's Lua script: its time limit, and that a failure of the hooks is a temporary failure."""

from __future__ import annotations

import re
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "dovecot/auth.lua"


def test_all_that_a_login_may_wait_for_is_less_than_dovecots_own_minute() -> None:
    (answers,) = re.findall(r"local ANSWER_WITHIN = \{(.*)\}", SCRIPT.read_text())
    within = {name: int(seconds) for name, seconds in re.findall(r"(\w+) = (\d+)", answers)}
    assert within.keys() == {"lookup", "mailbox", "login", "create"}
    assert within["lookup"] + within["create"] + within["login"] < 60


def test_no_worker_sleeps() -> None:
    text = SCRIPT.read_text()
    assert "os.execute" not in text
    assert "os.time" not in text
    # A client of HTTP that was refused waits with its worker before it tries again.
    assert "connect_backoff_max_time_msecs = 1," in text
    assert 'connect_backoff_max_time = "1ms"' in text


def test_a_question_that_the_hooks_may_have_read_and_not_answered_in_time_is_not_asked_again() -> None:
    (again,) = re.findall(r"local NOT_ASKED = \{(.*)\}", SCRIPT.read_text())
    # HTTP_CLIENT_REQUEST_ERROR_CONNECT_FAILED and CONNECTION_LOST of Dovecot 2.3; 9008 is TIMED_OUT.
    assert set(re.findall(r"\d+", again)) == {"9003", "9005"}


def test_no_login_fails_with_a_result_that_dovecot_logs_with_the_clients_address() -> None:
    password_verify = SCRIPT.read_text().partition("function auth_password_verify")[2].partition("\nend")[0]
    assert set(re.findall(r"PASSDB_RESULT_\w+", password_verify)) == {"PASSDB_RESULT_OK"}


def test_a_temporary_failure_is_told_later_than_postfix_waits_for() -> None:
    text = (SCRIPT.parent / "2.3/dovecot.conf").read_text()
    (delay,) = re.findall(r"^auth_failure_delay = (\d+)s$", text, re.MULTILINE)
    # AUTH_TIMEOUT of Postfix's xsasl_dovecot_server.c is 10 s, and Dovecot counts whole seconds.
    assert int(delay) > 10 + 1
    newer = (SCRIPT.parent / "2.4/dovecot.conf").read_text()
    assert f"\nauth_internal_failure_delay = {delay}s\n" in newer
    assert "\nauth_failure_delay = 0\n" in newer


def test_no_answer_to_what_a_client_sent_is_asked_for_again() -> None:
    (understood,) = re.findall(r"local UNDERSTOOD = \{(.*?)\}", SCRIPT.read_text(), re.DOTALL)
    codes = set(re.findall(r"\[(\d+)\] = true", understood))
    # What the hooks say of a request that they can't read, or do not grant.
    assert {"400", "403", "404", "409", "413", "423", "507"} <= codes
