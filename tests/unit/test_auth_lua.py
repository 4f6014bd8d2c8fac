"""What Dovecot's Lua has of its own: how long a login may wait for hooks that are away or hang."""

from __future__ import annotations

import re
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "dovecot/auth.lua"


def test_all_that_a_login_may_wait_for_is_less_than_dovecots_own_minute() -> None:
    text = SCRIPT.read_text()
    (patience,) = re.findall(r"local PATIENCE, SMTP_PATIENCE = (\d+), (\d+)", text)
    (answers,) = re.findall(r"local ANSWER_WITHIN = \{(.*)\}", text)
    within = {name: int(seconds) for name, seconds in re.findall(r"(\w+) = (\d+)", answers)}
    assert within.keys() == {"lookup", "mailbox", "login", "create"}
    assert max(map(int, patience)) + within["lookup"] + within["create"] + within["login"] < 60


def test_no_answer_to_what_a_client_sent_is_asked_for_again() -> None:
    (understood,) = re.findall(r"local UNDERSTOOD = \{(.*?)\}", SCRIPT.read_text(), re.DOTALL)
    codes = set(re.findall(r"\[(\d+)\] = true", understood))
    # What the hooks say of a request that they can't read, or do not grant.
    assert {"400", "403", "404", "409", "413", "423", "507"} <= codes
