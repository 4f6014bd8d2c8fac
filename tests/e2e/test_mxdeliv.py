"""`POST /mxdeliv` by hand: the status and the first line that a peer gets."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import requests

from tests.chat import pgp, smtp
from tests.chat.deadline import until
from tests.chat.imap import Mailbox
from tests.chat.person import Person, fresh_address
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

SENDER = "someone12345@peer.lab"


@pytest.fixture
def post(b: LabHost) -> Any:
    """Posts a message to _b.lab; the response."""

    def post(body: bytes, method: str = "POST", **headers: str | None) -> requests.Response:
        fields = {"Host": b.domain} | {
            name.replace("_", "-"): value for name, value in headers.items() if value is not None
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return requests.request(
                method,
                f"https://{b.ip}/mxdeliv",
                data=body,
                headers=fields,
                verify=False,  # noqa: S501  (the lab's own certificate)
                allow_redirects=False,
                timeout=60,
            )

    return post


@pytest.fixture(scope="module")
def signed(a: LabHost, mta: LabHost, writer: Login) -> tuple[str, bytes]:
    """A message that _a.lab signed and sent to mta.lab: its Message-ID, and its octets as they lie there."""
    mid = pgp.message_id()
    carol = f"carol@{mta.domain}"
    assert smtp.submit(a.ip, writer, [carol], pgp.encrypted(writer[0], carol, mid)).code == 250
    find = f"grep --files-with-matches --recursive '{mid}' /home/carol/Maildir/new"
    file = until("it arrives at mta.lab", lambda: mta.run(find, check=False).stdout.strip(), 30)
    lines = mta.run(f"cat {file}").stdout.splitlines()
    return mid, "\r\n".join([*lines, ""]).encode()


def test_signature_verifies(mta: LabHost, signed: tuple[str, bytes]) -> None:
    # OpenDKIM's own verifier, on a host that has nothing to do with the signer's.
    verified = mta.run("opendkim-testmsg", input=signed[1].decode(), check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def _first_line(answer: requests.Response) -> str:
    return answer.text.partition("\n")[0].strip()


def test_plaintext(post: Any, reader: Login) -> None:
    answer = post(pgp.plain(SENDER, reader[0], pgp.message_id()), X_Mail_From=SENDER, X_Mail_To=reader[0])
    assert answer.status_code == 403
    assert _first_line(answer) == "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"


def test_encrypted_but_unsigned(post: Any, reader: Login) -> None:
    answer = post(pgp.encrypted(SENDER, reader[0], pgp.message_id()), X_Mail_From=SENDER, X_Mail_To=reader[0])
    assert answer.status_code == 403
    assert _first_line(answer) == "554 5.7.1 No DKIM signature found"


def test_unknown_user(post: Any, b: LabHost) -> None:
    nobody = fresh_address(b.domain)
    answer = post(pgp.encrypted(SENDER, nobody, pgp.message_id()), X_Mail_From=SENDER, X_Mail_To=nobody)
    assert answer.status_code == 422
    assert _first_line(answer).startswith("550 5.1.1 ")


def test_refusals_that_differ_are_told_to_those_who_ask_for_json(post: Any, b: LabHost) -> None:
    nobody, elsewhere = fresh_address(b.domain), "carol@mta.lab"
    message = pgp.encrypted(SENDER, nobody, pgp.message_id())
    accept = "application/json, text/plain"
    answer = post(message, X_Mail_From=SENDER, X_Mail_To=f"{nobody}, {elsewhere}", Accept=accept)
    assert answer.status_code == 207
    told = {one["address"]: (one["code"], one["status"]) for one in answer.json()["recipients"]}
    assert told == {nobody: (550, "5.1.1"), elsewhere: (554, "5.7.1")}


def test_signed_message_is_on_disk_when_200_is_said(
    post: Any, b: LabHost, writer: Login, reader: Login, signed: tuple[str, bytes]
) -> None:
    mid, message = signed
    answer = post(message, X_Mail_From=writer[0], X_Mail_To=reader[0])
    assert answer.status_code == 200
    assert _first_line(answer).startswith("250 ")
    with Mailbox(b.ip, *reader) as mailbox:
        until("the message arrives", lambda: mailbox.find(mid), 10)


def test_signature_of_another_body(
    post: Any, writer: Login, reader: Login, signed: tuple[str, bytes]
) -> None:
    _, message = signed
    head, separator, body = message.partition(b"\r\n\r\n")
    altered = head + separator + body.replace(b"Version: 1\r\n", b"Version: 1 \r\n")
    assert altered != message
    answer = post(altered, X_Mail_From=writer[0], X_Mail_To=reader[0])
    assert answer.status_code == 403
    assert _first_line(answer) == "554 5.7.1 No valid DKIM signature found"


def test_no_recipient(post: Any) -> None:
    answer = post(pgp.encrypted(SENDER, SENDER, pgp.message_id()), X_Mail_From=SENDER)
    assert answer.status_code == 400


def test_malformed_recipient(post: Any) -> None:
    answer = post(b"\r\n", X_Mail_From=SENDER, X_Mail_To="not an address")
    assert answer.status_code == 400


def test_get(post: Any) -> None:
    answer = post(b"", method="GET")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"


def test_sender_of_our_own_domain(post: Any, b: LabHost, reader: Login, bob: Person) -> None:
    message = pgp.encrypted(bob.address, reader[0], pgp.message_id())
    answer = post(message, X_Mail_From=bob.address, X_Mail_To=reader[0])
    assert answer.status_code in (400, 403)
    assert _first_line(answer).startswith("553 5.7.1 ")


def test_it_is_no_relay(post: Any) -> None:
    elsewhere = "carol@mta.lab"
    message = pgp.encrypted(SENDER, elsewhere, pgp.message_id())
    answer = post(message, X_Mail_From=SENDER, X_Mail_To=elsewhere)
    assert answer.status_code in (400, 403)
    assert _first_line(answer).startswith("55")


def test_larger_than_anyone_may_send(post: Any, reader: Login) -> None:
    answer = post(b"x: " + b"y" * 31_457_281, X_Mail_From=SENDER, X_Mail_To=reader[0])
    assert answer.status_code == 413
