"""As many refused recipients as a message may have end no session, on any way in, also under stress."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chat import mxdeliv, pgp, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab import Lab
from tests.lab.host import LabHost

PEER = "peer.lab"
SENDER = f"someone12345@{PEER}"
MAX_RECIPIENTS = 1000  # chatmail_max_recipients

# smtpd(8) is started with this while all of a port's processes are taken; in master.cf it is for good.
_STRESS = "cd /etc/postfix && cp -p master.cf master.cf.before && postconf -P {} && postfix reload"
_RELAX = "cd /etc/postfix && mv master.cf.before master.cf && postfix reload"


@pytest.fixture(params=["", "stress"])
def _stress(request: pytest.FixtureRequest, b: LabHost) -> Iterator[None]:
    if not request.param:
        yield
        return
    ports = ("smtp", "submission", "submissions", "127.0.0.1:10025")
    b.run(_STRESS.format(" ".join(f"{port}/inet/stress=yes" for port in ports)))
    assert b.run("postconf -P | grep -c 'stress = yes'").stdout.strip() == str(len(ports))
    try:
        yield
    finally:
        b.run(_RELAX)


@pytest.mark.usefixtures("_stress")
def test_of_a_thousand_recipients_the_last_exists(lab: Lab, b: LabHost, reader: Login) -> None:
    mid = pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, reader[0], mid), PEER, lab.paths)
    unknown = [f"nobody{number:08}@{b.domain}" for number in range(MAX_RECIPIENTS - 1)]
    with smtp.peer(b.ip) as session:
        session.ehlo()
        assert session.mail(SENDER)[0] == 250
        assert {session.rcpt(one)[0] for one in unknown} == {550}
        assert session.rcpt(reader[0])[0] == 250
        assert session.data(message)[0] == 250
        # Taken mail resets the count: the next message may have as many.
        assert session.mail(SENDER)[0] == 250
        assert {session.rcpt(one)[0] for one in unknown} == {550}
        assert session.rcpt(reader[0])[0] == 250
    with ImapMailbox(b.ip, *reader) as mailbox:
        until("the message arrives", lambda: mailbox.find(mid), 30)


@pytest.mark.usefixtures("_stress")
def test_of_a_thousand_recipients_by_https_the_last_exists(lab: Lab, b: LabHost, reader: Login) -> None:
    mid = pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, reader[0], mid), PEER, lab.paths)
    recipients = [*(f"nobody{number:08}@{b.domain}" for number in range(MAX_RECIPIENTS - 1)), reader[0]]
    answer = mxdeliv.post(b, SENDER, recipients, message, Accept="application/json")
    codes = [one["code"] for one in answer.json["recipients"]]
    assert (answer.status, codes) == (200, [550] * (MAX_RECIPIENTS - 1) + [250])
    with ImapMailbox(b.ip, *reader) as mailbox:
        until("the message arrives", lambda: mailbox.find(mid), 30)


@pytest.mark.usefixtures("_stress")
def test_a_user_who_sends_too_much_goes_on_with_the_session(b: LabHost) -> None:
    login = fresh_address(b.domain), fresh_password()
    refused = 0
    with smtp.logged_in(b.ip, login) as session:
        # More errors than Postfix's own limit. Each second one more message may begin, so some do meanwhile.
        while refused < 40:
            answers = smtp.begin(session, login[0], [login[0]] * 2)
            if not answers[0].startswith("250 "):
                assert answers == [f"450 4.7.1: Too much mail from <{login[0]}>"] * 2
                refused += 2
        assert session.noop()[0] == 250
