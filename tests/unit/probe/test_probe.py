"""`chatmailctl probe` without a network: its test message, and how it classifies a host."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import dkim
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from chatmail_milter.ctl.gate import gate
from chatmail_milter.ctl.main import main
from chatmail_milter.time_limit import TimeLimit
from mxdeliv_app.probe import identity, message
from mxdeliv_app.probe.run import is_expected
from mxdeliv_app.probe.steps import FailedError, ProbeAttempt

SENDER, RECIPIENT = "probe-1@here.example", "bob@there.example"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def pem(key: rsa.RSAPrivateKey) -> bytes:
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


@pytest.fixture(scope="module")
def octets(pem: bytes) -> bytes:
    return message.signed(SENDER, RECIPIENT, message.DkimKey("here.example", "s1", pem))


def test_the_signature_holds(octets: bytes, key: rsa.RSAPrivateKey) -> None:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    public = base64.b64encode(key.public_key().public_bytes(serialization.Encoding.DER, kind))
    records = {b"s1._domainkey.here.example.": b"v=DKIM1; k=rsa; p=" + public}
    assert dkim.verify(octets, dnsfunc=lambda name, **_: records.get(name))


@pytest.mark.parametrize("direction", [("in",), ("out", "--recipient", RECIPIENT)], ids=["in", "out"])
def test_the_gate_passes_it(octets: bytes, direction: tuple[str, ...]) -> None:
    words = ["check", "--json", "--sender", SENDER, "--direction", *direction]
    said = json.loads(CliRunner().invoke(gate, words, input=octets).stdout)
    assert (said["verdict"], said["reason"]) == ("pass", "encrypted")
    assert message.TEXT.encode() not in octets


def test_the_key_is_found_in_opendkims_table(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"PEM")
    table = tmp_path / "KeyTable"
    table.write_text(f"# relay other.example:no:/nowhere\nrelay  here.example:s1:{tmp_path}/key\n")
    assert message.read_key(table, "here.example") == message.DkimKey("here.example", "s1", b"PEM")
    with pytest.raises(LookupError, match=r"has no key of other\.example"):
        message.read_key(table, "other.example")


@pytest.mark.parametrize(
    ("status", "body", "is_"),
    [
        (400, b"501 5.5.4 Syntax error in parameters: X-Mail-To: names no recipient\r\n", identity.OURS),
        (400, b"bad request", identity.MADMAIL),
        (400, b"500 Invalid FROM header: ", identity.CLASSIC),
        (400, b"523 Encryption Needed: Invalid Unencrypted Mail", identity.CLASSIC),
        (422, b"550 5.1.1 User unknown", identity.CHATMAIL),
        (200, b"OK. Service is healthy", identity.CATCH_ALL),
        (204, b"", identity.CATCH_ALL),
        (404, b"<html>", identity.WEB),
        (405, b"", identity.WEB),
        (403, b"Forbidden", identity.WEB),
        (502, b"<html>", identity.WEB),
    ],
)
def test_a_web_server_is_known_by_its_answer_to_no_recipient(status: int, body: bytes, is_: str) -> None:
    assert identity.of_web_server(status, "text/plain", body) == is_


@pytest.mark.parametrize(
    ("banner", "is_"),
    [
        ("220 mx.example ESMTP Postfix (Debian)", "mail server (Postfix)"),
        ("220 mx.example ESMTP Exim 4.96", "mail server (Exim)"),
        ("220 mx.example ESMTP ready", "mail server"),
    ],
)
def test_a_mail_server_is_known_by_its_greeting(banner: str, is_: str) -> None:
    assert identity.of_mail_server(banner) == is_


@pytest.mark.parametrize(
    ("code", "reply", "made_up", "arrives"),
    [
        (250, "250 2.0.0 OK", False, True),
        (250, "250 2.0.0 OK", True, True),
        (550, "550 5.1.1 User unknown", True, True),
        (550, "550 5.1.1 User unknown", False, False),
        (554, "554 5.7.1 No valid DKIM signature found", True, False),
        (450, "450 4.1.1 try later", True, False),
        (None, "", True, False),
    ],
)
def test_no_such_user_is_right_only_for_a_made_up_name(
    code: int | None, reply: str, made_up: bool, arrives: bool
) -> None:
    assert is_expected(ProbeAttempt("smtp", "mx", code=code, reply=reply), made_up=made_up) is arrives


def test_a_failed_step_has_the_reason_and_ends_the_attempt() -> None:
    attempt = ProbeAttempt("https", "mx")
    with pytest.raises(FailedError), attempt.step("connect", (OSError,), TimeLimit(60, 60)):
        raise ConnectionRefusedError("refused")
    assert [(step.name, step.error) for step in attempt.steps] == [("connect", "refused")]
    assert attempt.error == "refused"


def test_an_error_of_ours_is_not_taken_for_the_peers() -> None:
    attempt = ProbeAttempt("https", "mx")
    with pytest.raises(KeyError), attempt.step("connect", (OSError,), TimeLimit(60, 60)):
        raise KeyError("ours")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["not a domain"], "malformed"),
        (["a@b@c"], "malformed"),
        (["x.example", "--road", "pigeon"], "is not one of 'https', 'smtp'"),
    ],
)
def test_wrong_usage_is_status_2(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["probe", *words])
    assert result.exit_code == 2
    assert said in result.output


def test_help_lists_it() -> None:
    assert "probe" in CliRunner().invoke(main, ["--help"]).output
