"""`/mxdeliv` on the wire: hostile HTTP through nginx into Postfix (docs/wire.md, 2)."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator

import pytest

from tests import messages, packets
from tests.chat import early_answer, mxdeliv, pgp, signature
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.smtp import any_certificate
from tests.e2e.conftest import Login
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import CONTROL_ADDRESS

PEER = "peer.lab"
SENDER = f"someone12345@{PEER}"
PEER_CONNECTIONS = 50  # chatmail_peer_connections
LARGE = 30_000_000
SECONDS = 30.0
# Of a socket, against what hangs.
TIMEOUT = 120.0


# A POST of what comes by stdin, for a host that has Python.
_POST = """
import http.client, ssl, sys
host, sender, recipient = sys.argv[1:]
client = http.client.HTTPSConnection(host, timeout=100, context=ssl._create_unverified_context())
client.request("POST", "/mxdeliv", sys.stdin.buffer.read(), {"X-Mail-From": sender, "X-Mail-To": recipient})
print(client.getresponse().status)
"""


@pytest.fixture(scope="module")
def message(lab: Lab, reader: Login) -> bytes:
    """A signed message that the relay takes."""
    return signature.sign(pgp.encrypted(SENDER, reader[0], pgp.message_id()), PEER, lab.paths)


def connect(host: LabHost) -> ssl.SSLSocket:
    return any_certificate().wrap_socket(
        socket.create_connection((host.ip, 443), TIMEOUT), server_hostname=host.domain
    )


def say(host: LabHost, octets: bytes) -> bytes:
    """All that is answered on a connection of its own; what nginx does not wait for may be cut."""
    with socket.create_connection((host.ip, 443), TIMEOUT) as plain:
        return early_answer.exchange(plain, host.domain, octets)


def head(host: LabHost, recipient: str, *fields: str, version: str = "1.1") -> bytes:
    usual = [f"Host: {host.domain}", "Connection: close", f"X-Mail-From: {SENDER}", f"X-Mail-To: {recipient}"]
    return "\r\n".join([f"POST /mxdeliv HTTP/{version}", *usual, *fields, "", ""]).encode("latin-1")


def statuses(answer: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"^HTTP/1\.\d (\d{3}) ", answer, re.MULTILINE)]


def said_to_postfix(host: LabHost, since: str) -> list[str]:
    """What the port behind `/mxdeliv` has logged of messages from here; others' mail may pass meanwhile."""
    # Not journalctl's own filter: after a cursor it leaves out the first entry that matches.
    entries = host.journal(since=since)
    lines = [
        str(one["MESSAGE"]) for one in entries if one.get("SYSLOG_IDENTIFIER") == "postfix/mxdeliv/smtpd"
    ]
    address = re.escape(f"[{CONTROL_ADDRESS}]")
    ours = re.compile(rf"client=\S*{address}|reject: .* from \S*{address}")
    return [line for line in lines if ours.search(line)]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_both_old_versions_of_http(b: LabHost, reader: Login, message: bytes, version: str) -> None:
    length = f"Content-Length: {len(message)}"
    answer = say(b, head(b, reader[0], length, version=version) + message)
    assert statuses(answer) == [200]
    assert b"\r\n\r\n250 2.0.0 " in answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl speaks HTTP/2, and is not here")
def test_http_2(b: LabHost, reader: Login, message: bytes) -> None:
    fields = [f"X-Mail-From: {SENDER}", f"X-Mail-To: {reader[0]}", f"Host: {b.domain}"]
    words = ["curl", "--silent", "--insecure", "--http2", "--write-out", "%{http_version} %{http_code}"]
    words += [word for field in fields for word in ("--header", field)]
    ran = subprocess.run(
        [*words, "--data-binary", "@-", f"https://{b.ip}/mxdeliv/"],
        input=message, capture_output=True, check=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert ran.stdout.startswith(b"250 2.0.0 ")
    assert ran.stdout.endswith(b"2 200")


@pytest.mark.parametrize("name", ["_b.lab", "10.77.0.12", "elsewhere.example", ""])
@pytest.mark.parametrize("path", ["/mxdeliv", "/mxdeliv/"])
def test_whatever_name_leads_here(b: LabHost, reader: Login, message: bytes, name: str, path: str) -> None:
    client = http.client.HTTPSConnection(b.ip, timeout=TIMEOUT, context=any_certificate())
    with contextlib.closing(client):
        fields = {"Host": name, "X-Mail-From": SENDER, "X-Mail-To": reader[0]}
        client.request("POST", path, message, fields)
        # RFC 9112, 3.2: a Host without a value is no host, and nginx says so.
        assert client.getresponse().status == (200 if name else 400)


@pytest.mark.parametrize("path", ["/mxdeliv", "/mxdeliv/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "PROPFIND"])
def test_anything_but_post(b: LabHost, method: str, path: str) -> None:
    client = http.client.HTTPSConnection(b.ip, timeout=TIMEOUT, context=any_certificate())
    with contextlib.closing(client):
        client.request(method, path, headers={"Host": b.domain})
        answer = client.getresponse()
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/mxdeliv", "/mxdeliv/", "/", "/new"])
def test_plain_http_is_no_way_in_and_leads_nowhere(
    b: LabHost, reader: Login, message: bytes, path: str
) -> None:
    client = http.client.HTTPConnection(b.ip, 80, timeout=TIMEOUT)
    with contextlib.closing(client):
        client.request(
            "POST", path, message, {"Host": b.domain, "X-Mail-From": SENDER, "X-Mail-To": reader[0]}
        )
        answer = client.getresponse()
        assert (answer.status, answer.headers["Location"]) == (404, None)


@pytest.mark.parametrize("field", ["X-Mail-To", "X-Mail-From"])
@pytest.mark.parametrize(
    "value",
    [
        "a@_b.lab\rX-Mail-To: c@_b.lab",
        "a@_b.lab\n RCPT TO:<c@_b.lab>",
        "a@_b.lab\r\n RCPT TO:<c@_b.lab>",
        "a@_b.lab,\r\n c@_b.lab",
        "a@_b.lab\0",
        "a@_b.lab> SIZE=1",
        "j\u00fcrgen@_b.lab",
    ],
)
def test_no_command_gets_in_by_a_header_field(b: LabHost, message: bytes, field: str, value: str) -> None:
    before = b.cursor()
    other = "X-Mail-From: x@peer.lab" if field == "X-Mail-To" else "X-Mail-To: a@_b.lab"
    fields = [
        f"Host: {b.domain}",
        "Connection: close",
        other,
        f"{field}: {value}",
        f"Content-Length: {len(message)}",
    ]
    request = "\r\n".join(["POST /mxdeliv HTTP/1.1", *fields, "", ""]).encode() + message
    assert statuses(say(b, request)) == [400]
    assert said_to_postfix(b, before) == []


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (["Content-Length: 5", "Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked", "Content-Length: 5"], b"5\r\nhello\r\n0\r\n\r\n"),
        (["Content-Length: 5", "Content-Length: 6"], b"hello"),
        (["Content-Length: -1"], b"hello"),
        (["Content-Length: +5"], b"hello"),
        (["Transfer-Encoding: xchunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked, chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding : chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"-5\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"zz\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"5\r\nhelloworld\r\n0\r\n\r\n"),
    ],
    ids=lambda case: ", ".join(case) if isinstance(case, list) else None,
)
def test_a_message_whose_length_is_in_doubt(
    b: LabHost, reader: Login, fields: list[str], body: bytes
) -> None:
    before = b.cursor()
    smuggled = head(b, reader[0], "Content-Length: 5") + b"hello"
    request = head(b, reader[0], *fields).replace(b"Connection: close\r\n", b"") + body + smuggled
    answered = statuses(say(b, request))
    assert len(answered) == 1
    assert answered[0] in (400, 501)
    assert said_to_postfix(b, before) == []


def test_a_peer_that_goes_away_in_the_middle_leaves_nothing(
    b: LabHost, reader: Login, message: bytes
) -> None:
    before = b.cursor()
    for fields, begun in (
        ([f"Content-Length: {len(message)}"], message[:-100]),
        (["Transfer-Encoding: chunked"], b"%x\r\n%s\r\n" % (len(message), message)),
    ):
        with connect(b) as connection:
            connection.sendall(head(b, reader[0], *fields) + begun)
    assert mxdeliv.post(b, SENDER, [reader[0]], message).status == 200
    # Of that one there is a trace, so there would be of the others.
    until("it is logged", lambda: said_to_postfix(b, before), SECONDS)
    assert len(said_to_postfix(b, before)) == 1


@pytest.fixture
def half_sent(b: LabHost, reader: Login) -> Iterator[None]:
    """As many messages as one address may be sending, none of which goes on."""

    def one_more() -> int:
        return mxdeliv.ask(b, "GET", {}).status

    with contextlib.ExitStack() as held:
        for _ in range(PEER_CONNECTIONS):
            connection = held.enter_context(connect(b))
            connection.sendall(head(b, reader[0], "Content-Length: 1000") + b"From: <")
        until("nginx has seen them all", lambda: one_more() == 503, SECONDS)
        yield
    until("nginx has seen them go", lambda: one_more() == 405, SECONDS)


@pytest.mark.usefixtures("half_sent")
def test_slow_peers_hold_nothing_behind_nginx_and_no_more_than_their_share(
    b: LabHost, mta: LabHost, reader: Login, message: bytes
) -> None:
    def held() -> list[str]:
        connected = "ss --no-header --unix state connected src /run/mxdeliv-app/app.sock"
        return b.run(connected).stdout.splitlines()

    # The app, and smtpd behind it, have not heard of any of them. (Mail of others passes in a moment.)
    until("the app has nothing to do", lambda: not held(), SECONDS)
    # One more from that address is told so, in words that a peer's queue understands.
    answer = mxdeliv.post(b, SENDER, [reader[0]], message)
    assert (answer.status, answer.line[:10]) == (503, "450 4.7.1 ")
    assert int(answer.headers["Retry-After"]) > 0
    # Another peer is served.
    said = mta.run(["python3", "-c", _POST, b.ip, SENDER, reader[0]], input=message.decode(), timeout=TIMEOUT)
    assert said.stdout.strip() == "200"


def test_nginx_too_says_too_large_in_the_words_of_smtp(b: LabHost, reader: Login) -> None:
    for fields in (["Content-Length: 80000000"], ["Transfer-Encoding: chunked"]):
        body = b"%x\r\n" % 80_000_000 if "chunked" in fields[0] else b""
        answer = say(b, head(b, reader[0], *fields) + body + b"x" * 100_000)
        assert statuses(answer) == [413]
        assert b"\r\n\r\n552 5.3.4 " in answer


@pytest.mark.parametrize("chunked", [False, True])
def test_thirty_megabytes_come_in_and_the_app_does_not_grow(
    lab: Lab, b: LabHost, reader: Login, chunked: bool
) -> None:
    mid = pgp.message_id()
    body = b"\x01" + packets.noise(LARGE * 48 // 66)
    armor = packets.armored(packets.pkesk() + packets.partial(packets.SEIPD, body, 16))
    text = messages.encrypted(armor, sender=SENDER).replace(b"1e240@localhost", mid.encode())
    text = signature.sign(text, PEER, lab.paths)
    assert 29_000_000 < len(text) < 31_457_280

    def peak() -> int:
        pids = b.run("pgrep --uid chatmail-web").stdout.split()
        files = " ".join(f"/proc/{pid}/status" for pid in pids)
        # One of them may have ended since.
        found = b.run(f"grep --no-filename --no-messages VmHWM {files}", check=False).stdout
        return max(int(line.split()[1]) for line in found.splitlines()) * 1024

    before = peak()
    pieces = (text[at : at + 100_000] for at in range(0, len(text), 100_000))
    client = http.client.HTTPSConnection(b.ip, timeout=TIMEOUT, context=any_certificate())
    with contextlib.closing(client):
        fields = {"Host": b.domain, "X-Mail-From": SENDER, "X-Mail-To": reader[0]}
        # Of an iterable it does not know the length: chunked.
        client.request("POST", "/mxdeliv", pieces if chunked else text, fields)
        answer = client.getresponse()
        assert answer.status == 200, answer.read(500)
    # Of 30 MB: what a worker that has not served anybody yet makes for itself.
    assert peak() - before < 10_000_000
    with ImapMailbox(b.ip, *reader) as mailbox:
        until("it is in the mailbox", lambda: mailbox.find(mid), SECONDS)
