"""`chatmailctl trace`: a message's path from journal lines. A script is in place of `journalctl`."""

from __future__ import annotations

import json
import os
import pwd
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatmail_milter.trace.journal import USERS, parse
from chatmail_milter.trace.steps import TracedLine, step
from chatmail_milter.trace.ways import TracedMessage, ways
from tests.unit.chatmailctl import rows, run
from tests.unit.ctl.test_queue import message, write

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
# A user's message to a peer that takes it by HTTPS, as the programs of a relay log it.
BY_HTTPS = """\
postfix/submission/smtpd 4bA1X: client=unknown[203.0.113.7], sasl_method=PLAIN, sasl_username=u@a.test
postfix/submission/cleanup 4bA1X: message-id=<one@a.test>
chatmail-milter road=submission verdict=pass reason=encrypted queue=4bA1X size=2000
opendkim 4bA1X: DKIM-Signature field added (s=dkim, d=a.test)
postfix/qmgr 4bA1X: from=<u@a.test>, size=2345, nrcpt=1 (queue active)
mxdeliv-relay level=INFO event=delivery domain=b.test mode=https-first road=https reason=answered \
accepted=1 of=1 \
octets=2345 seconds=0.012 queue=4bA1X
postfix/mxdeliv/lmtp 4bA1X: to=<x@b.test>, relay=a[chatmail/relay.sock], delay=0.05, \
delays=0.03/0/0/0.02, dsn=2.0.0, \
status=sent (250 2.0.0 Ok: queued as 5cB7X)
postfix/qmgr 4bA1X: removed
"""
# The same by SMTP, after HTTPS failed; where MX is away, smtp(8) goes on to the relay once more.
BY_SMTP = """\
postfix/submission/smtpd 4bA2X: client=unknown[203.0.113.7], sasl_method=PLAIN, sasl_username=u@a.test
postfix/submission/cleanup 4bA2X: message-id=<two@a.test>
postfix/qmgr 4bA2X: from=<u@a.test>, size=2345, nrcpt=1 (queue active)
mxdeliv-relay level=INFO event=https-failed domain=c.test mode=https-first reason=connect queue=4bA2X
mxdeliv-relay level=INFO event=delivery domain=c.test mode=https-first road=smtp reason=connect \
accepted=1 of=1 \
octets=2345 seconds=0.034 queue=4bA2X
mxdeliv-relay level=INFO event=handed-back onward=4bA3Y queue=4bA2X
postfix/reinject/smtpd 4bA3Y: client=localhost[127.0.0.1]
postfix/cleanup 4bA3Y: message-id=<two@a.test>
postfix/mxdeliv/lmtp 4bA2X: to=<x@c.test>, relay=a[chatmail/relay.sock], delay=0.05, \
delays=0.03/0/0/0.02, dsn=2.0.0, \
status=sent (250 2.0.0 Ok: queued as 4bA3Y)
postfix/qmgr 4bA2X: removed
postfix/qmgr 4bA3Y: from=<u@a.test>, size=2345, nrcpt=1 (queue active)
postfix/smtp-mx/smtp 4bA3Y: host mx.c.test[198.51.100.2] said: 451 4.7.1 Later (in reply to RCPT TO command)
postfix/smtp-mx/smtp 4bA3Y: to=<x@c.test>, relay=mx.c.test[198.51.100.2]:25, delay=1.1, \
delays=0/0/1/0.1, dsn=4.7.1, \
status=deferred (host mx.c.test[198.51.100.2] said: 451 4.7.1 Later (in reply to RCPT TO command))
"""
REFUSED = """\
postfix/smtpd NOQUEUE: reject: RCPT from unknown[198.51.100.2]: 550 5.1.1 <no@a.test>: There is no such \
mailbox; \
from=<y@c.test> to=<no@a.test> proto=ESMTP helo=<mx.c.test>
postfix/smtpd 4bA4Z: client=unknown[198.51.100.2]
postfix/cleanup 4bA4Z: message-id=<clear@c.test>
chatmail-milter road=smtp verdict=reject reason=not-encrypted queue=4bA4Z size=99 domain=c.test \
seconds=0.0100
postfix/cleanup 4bA4Z: milter-reject: END-OF-MESSAGE from unknown[198.51.100.2]: 5.7.1 Encryption is \
needed; \
from=<y@c.test> to=<u@a.test> proto=ESMTP helo=<mx.c.test>
"""
BOUNCED = """\
postfix/smtpd 4bA5Z: client=unknown[198.51.100.2]
postfix/cleanup 4bA5Z: message-id=<full@c.test>
postfix/qmgr 4bA5Z: from=<y@c.test>, size=99, nrcpt=2 (queue active)
postfix/lmtp 4bA5Z: to=<u@a.test>, relay=a.test[private/dovecot-lmtp], delay=0.1, delays=0/0/0/0.1, \
dsn=2.0.0, \
status=sent (250 2.0.0 <u@a.test> KxA Saved)
postfix/lmtp 4bA5Z: to=<full@a.test>, relay=a.test[private/dovecot-lmtp], delay=0.1, delays=0/0/0/0.1, \
dsn=5.2.2, \
status=bounced (552 5.2.2 <full@a.test> Quota exceeded)
postfix/cleanup 4bA6Z: message-id=<bounce@a.test>
postfix/bounce 4bA5Z: sender non-delivery notification: 4bA6Z
postfix/qmgr 4bA6Z: from=<>, size=99, nrcpt=1 (queue active)
postfix/qmgr 4bA5Z: removed
"""


def entries(text: str) -> list[TracedLine]:
    return [
        TracedLine(NOW + timedelta(milliseconds=10 * number), *line.split(" ", 1))
        for number, line in enumerate(text.splitlines())
    ]


def found(text: str) -> list[TracedMessage]:
    return ways(one for entry in entries(text) if (one := step(entry)) is not None)


def the_one(text: str, named: str) -> TracedMessage:
    (way,) = [way for way in found(text) if way.is_of(named)]
    return way


@pytest.mark.parametrize("named", ["4bA1X", "<one@a.test>", "one@a.test", "U@a.test", "x@b.test", "5cB7X"])
def test_a_message_is_found_by_whatever_names_it(named: str) -> None:
    way = the_one(BY_HTTPS + BY_SMTP.replace("u@a.test", "other@a.test"), named)
    assert (way.message_id, way.sender, way.queue_ids) == ("one@a.test", "u@a.test", ("4bA1X",))
    assert [one.kind for one in way.steps] == [
        "door", "message-id", "verdict", "signature", "queue", "road", "delivery", "left",
    ]  # fmt: skip
    (recipient,) = way.recipients
    assert (recipient.state, recipient.road, recipient.peer_queue_id) == ("delivered", "https", "5cB7X")


def test_a_message_handed_back_for_smtp_is_one_message_with_two_queue_ids() -> None:
    way = the_one(BY_SMTP, "4bA3Y")
    assert way.queue_ids == ("4bA2X", "4bA3Y")
    (recipient,) = way.recipients
    assert (recipient.state, recipient.road) == ("waiting", "smtp")
    assert "451 4.7.1 Later" in recipient.answer


def test_a_peers_queue_id_is_not_taken_for_one_of_ours() -> None:
    # The peer chose the ID of another message here.
    both = BY_HTTPS.replace("5cB7X", "4bA5Z") + BOUNCED
    assert the_one(both, "<one@a.test>").queue_ids == ("4bA1X",)


@pytest.mark.parametrize("said", ["250 2.0.0 Ok: queued as {}", "250 2.0.0 event=handed-back onward={}"])
@pytest.mark.parametrize("agent", ["postfix/mxdeliv/lmtp", "postfix/smtp-mx/smtp"])
def test_a_peers_words_join_no_message_to_one_that_was_handed_back(agent: str, said: str) -> None:
    lines = BY_HTTPS.replace("250 2.0.0 Ok: queued as 5cB7X", said.format("4bA3Y"))
    lines = lines.replace("postfix/mxdeliv/lmtp", agent)
    # Nor by the same Message-ID, which a user chose.
    both = lines.replace("one@a.test", "two@a.test") + BY_SMTP
    assert [way.queue_ids for way in found(both)] == [("4bA1X",), ("4bA2X", "4bA3Y")]


def handed_back_bounce(message_id: str) -> str:
    lines = [
        "postfix/cleanup 4bA6Z: message-id=<bounce@a.test>",
        "postfix/qmgr 4bA6Z: from=<>, size=99, nrcpt=1 (queue active)",
        "postfix/reinject/smtpd 4bA7Z: client=localhost[127.0.0.1]",
        f"postfix/cleanup 4bA7Z: message-id=<{message_id}>",
        "postfix/mxdeliv/lmtp 4bA6Z: to=<y@c.test>, relay=a[chatmail/relay.sock], delay=1, delays=1/0/0/0, "
        "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4bA7Z)",
    ]
    return "\n".join(lines) + "\n"


def test_a_bounce_that_was_handed_back_is_known_by_its_message_id() -> None:
    assert the_one(handed_back_bounce("bounce@a.test"), "4bA7Z").queue_ids == ("4bA6Z", "4bA7Z")
    others = found(handed_back_bounce("other@a.test"))
    assert [way.queue_ids for way in others] == [("4bA6Z",), ("4bA7Z",)]


def test_what_was_refused_without_a_queue_id_is_found_by_its_envelope() -> None:
    way = the_one(REFUSED, "no@a.test")
    assert (way.queue_ids, way.recipients[0].state) == ((), "refused")
    assert "550 5.1.1" in way.steps[0].text


def test_a_verdict_and_what_the_peer_was_told() -> None:
    way = the_one(REFUSED, "<clear@c.test>")
    assert [(one.status, one.reason) for one in way.steps if one.kind == "verdict"] == [
        ("reject", "not-encrypted")
    ]
    assert way.recipients[0].state == "refused"


def test_a_bounce_belongs_to_its_message_and_each_recipient_has_a_fate() -> None:
    way = the_one(BOUNCED, "4bA6Z")
    assert (way.queue_ids, way.message_id) == (("4bA5Z", "4bA6Z"), "full@c.test")
    assert {one.address: (one.state, one.road) for one in way.recipients} == {
        "u@a.test": ("delivered", "mailbox"),
        "full@a.test": ("returned", "mailbox"),
    }


def test_a_users_network_address_is_in_no_step() -> None:
    assert "203.0.113.7" not in str(found(BY_HTTPS + BY_SMTP))


@pytest.mark.parametrize(
    ("program", "user", "counts"),
    [
        ("postfix/qmgr", "102", True),
        ("postfix/qmgr", "0", True),
        ("postfix/qmgr", "1000", False),
        ("gunicorn", "102", False),
        ("sshd", "0", False),
    ],
)
def test_a_line_counts_only_if_it_is_of_the_user_that_the_program_runs_as(
    program: str, user: str, counts: bool
) -> None:
    allowed = {"postfix/": frozenset({"0", "102"}), "gunicorn": frozenset({"103"})}
    line = {
        "SYSLOG_IDENTIFIER": program,
        "_UID": user,
        "MESSAGE": "4bA1X: removed",
        "__REALTIME_TIMESTAMP": "1",
    }
    assert (parse(json.dumps(line).encode(), allowed) is not None) is counts
    assert parse(json.dumps(line | {"MESSAGE": [255, 0]}).encode(), allowed) is None


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postqueue: Path) -> None:
    """What `journalctl` prints: all of the above, of this user."""
    me = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr("chatmail_milter.trace.journal.USERS", dict.fromkeys(USERS, (me,)))
    lines = [
        json.dumps(
            {
                "SYSLOG_IDENTIFIER": one.program,
                "MESSAGE": one.text,
                "_UID": str(os.getuid()),
                "__REALTIME_TIMESTAMP": str(int(one.at.timestamp() * 1e6)),
            }
        )
        for one in entries(BY_HTTPS + BY_SMTP + REFUSED + BOUNCED)
    ]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    program = tmp_path / "journalctl"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/lines\n")
    program.chmod(0o755)


@pytest.mark.usefixtures("journal")
class TestCommand:
    def test_each_step_with_its_time_and_what_to_ask_the_peer(self) -> None:
        said = run("trace", "<one@a.test>").output
        assert "came in by submission, ports 465 and 587, login u@a.test" in said
        assert "+0.020 s  4bA1X" in said
        assert (
            "Ask the operator of b.test for queue ID 5cB7X: taken by HTTPS at 2026-03-01 12:00:00 UTC" in said
        )

    def test_json(self, postqueue: Path) -> None:
        write(postqueue, message("4bA3Y", "x@c.test"))
        (one,) = rows("trace", "<two@a.test>")["messages"]
        assert (one["outcome"], one["waits"]) == ("waiting", ["4bA3Y"])
        assert any("chatmailctl queue flush c.test" in sentence for sentence in one["advice"])

    def test_an_address_with_many_messages_lists_them(self) -> None:
        said = run("trace", "y@c.test").output
        assert "In all" not in said  # three are shown whole
        said = run("trace", "u@a.test").output
        assert "In all: 4 messages." in said
        assert "After" not in said
        assert "After" in run("trace", "u@a.test", "--all").output

    def test_nothing_found_says_where_the_journal_begins_and_what_it_never_has(self) -> None:
        result = run("trace", "nobody@a.test")
        assert result.exit_code == 1
        assert result.output.startswith("Error: see whether it is older")
        assert "The journal begins at 2026-03-01 12:00:00 UTC" in result.output

    def test_what_the_journal_forgot_may_still_be_in_the_queue(self, postqueue: Path) -> None:
        write(postqueue, message("OLDER", "z@d.test"))
        result = run("trace", "z@d.test")
        assert (result.exit_code, "chatmailctl queue show OLDER" in result.output) == (0, True)

    @pytest.mark.parametrize("words", [[], ["a", "b"], ["a", "--since", "soon"]])
    def test_bad_input(self, words: list[str]) -> None:
        assert run("trace", *words).exit_code == 2
