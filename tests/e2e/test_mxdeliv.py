"""`POST /mxdeliv` by hand: the status and the first line that a peer gets (wire.md, 2).

What the gate and DKIM refuse is in `test_rows` and `test_origin`.
"""

from __future__ import annotations

import pytest

from tests.chat import mxdeliv, pgp, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import Mailbox
from tests.chat.person import Person, fresh_address
from tests.e2e.conftest import Login
from tests.lab import Lab
from tests.lab.host import LabHost

SENDER, CAROL = "someone12345@peer.lab", "carol@mta.lab"


@pytest.fixture(scope="module")
def signed(a: LabHost, mta: LabHost, writer: Login) -> tuple[str, bytes]:
    """A message that _a.lab signed and sent to mta.lab: its Message-ID, and its octets as they lie there."""
    mid = pgp.message_id()
    assert smtp.submit(a.ip, writer, [CAROL], pgp.encrypted(writer[0], CAROL, mid)).code == 250
    find = f"grep --files-with-matches --recursive '{mid}' /home/carol/Maildir/new"
    file = until("it arrives at mta.lab", lambda: mta.run(find, check=False).stdout.strip(), 30)
    lines = mta.run(f"cat {file}").stdout.splitlines()
    return mid, "\r\n".join([*lines, ""]).encode()


def test_signature_verifies(mta: LabHost, signed: tuple[str, bytes]) -> None:
    # OpenDKIM's own verifier, on a host that has nothing to do with the signer's.
    verified = mta.run("opendkim-testmsg", input=signed[1].decode(), check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_signed_message_is_on_disk_when_200_is_said(
    b: LabHost, writer: Login, reader: Login, signed: tuple[str, bytes]
) -> None:
    mid, message = signed
    answer = mxdeliv.post(b, writer[0], [reader[0]], message)
    assert answer.status == 200
    assert answer.line.startswith("250 ")
    with Mailbox(b.ip, *reader) as mailbox:
        until("the message arrives", lambda: mailbox.find(mid), 10)


def test_unknown_user(b: LabHost) -> None:
    nobody = fresh_address(b.domain)
    answer = mxdeliv.post(b, SENDER, [nobody], pgp.encrypted(SENDER, nobody, pgp.message_id()))
    assert answer.status == 422
    assert answer.line.startswith("550 5.1.1 ")


def test_refusals_that_differ_are_told_to_those_who_ask_for_json(b: LabHost) -> None:
    nobody = fresh_address(b.domain)
    message = pgp.encrypted(SENDER, nobody, pgp.message_id())
    answer = mxdeliv.post(b, SENDER, [nobody, CAROL], message, Accept="application/json, text/plain")
    assert answer.status == 207
    told = {one["address"]: (one["code"], one["status"]) for one in answer.json["recipients"]}
    assert told == {nobody: (550, "5.1.1"), CAROL: (554, "5.7.1")}


@pytest.mark.parametrize("asks", [False, True])
def test_mixed_fortunes_are_a_bounce_or_told_to_those_who_ask(
    lab: Lab, b: LabHost, reader: Login, asks: bool
) -> None:
    nobody, mid = fresh_address(b.domain), pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, reader[0], mid), "peer.lab", lab.paths)
    before = b.cursor()
    accept = {"Accept": "application/json, text/plain" if asks else "*/*"}
    answer = mxdeliv.post(b, SENDER, [reader[0], nobody], message, **accept)
    assert answer.status == 200
    with Mailbox(b.ip, *reader) as mailbox:
        until("the message arrives", lambda: mailbox.find(mid), 10)

    def bounces() -> list[str]:
        entries = b.journal(since=before)
        return [one["MESSAGE"] for one in entries if one.get("SYSLOG_IDENTIFIER") == "postfix/bounce"]

    if asks:
        told = {one["address"]: (one["code"], one["status"]) for one in answer.json["recipients"]}
        assert told == {reader[0]: (250, "2.0.0"), nobody: (550, "5.1.1")}
        assert bounces() == []
    else:
        assert answer.line.startswith("250 ")
        until("Postfix bounces", lambda: any("non-delivery notification" in line for line in bounces()), 10)


def test_no_recipient(b: LabHost) -> None:
    assert mxdeliv.post(b, SENDER, [], pgp.encrypted(SENDER, SENDER, pgp.message_id())).status == 400


def test_malformed_recipient(b: LabHost) -> None:
    assert mxdeliv.post(b, SENDER, ["not an address"], b"\r\n").status == 400


def test_get(b: LabHost) -> None:
    answer = mxdeliv.ask(b, "GET", {})
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"


def test_sender_of_our_own_domain(b: LabHost, reader: Login, bob: Person) -> None:
    message = pgp.encrypted(bob.address, reader[0], pgp.message_id())
    answer = mxdeliv.post(b, bob.address, [reader[0]], message)
    assert answer.status in (400, 403)
    assert answer.line.startswith("553 5.7.1 ")


def test_it_is_no_relay(b: LabHost) -> None:
    answer = mxdeliv.post(b, SENDER, [CAROL], pgp.encrypted(SENDER, CAROL, pgp.message_id()))
    assert answer.status in (400, 403)
    assert answer.line.startswith("55")


def test_larger_than_anyone_may_send(b: LabHost, reader: Login) -> None:
    assert mxdeliv.post(b, SENDER, [reader[0]], b"x: " + b"y" * 31_457_281).status == 413
