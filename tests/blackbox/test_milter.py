"""The installed milter, on a socket that it inherits as from systemd, asked as Postfix asks."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import messages, packets
from tests.messages import ALICE, BOB
from tests.milter_client import ALL_STEPS, Answer, MilterClient, wait_for
from tests.rows import AUTHOR, ROWS, Row

PROGRAM = str(Path(sys.executable).with_name("chatmail-milter"))
CONFIG = '[mail]\ndomain = "a.example"\nhostname = "mx.a.example"\n'
GOOD = messages.sealed(packets.pkesk() + packets.seipd())
CLEAR = messages.text()
CLEARTEXT = "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"


class Milter:
    """The program, listening at `path`; `log` is what it has written so far."""

    def __init__(self, directory: Path, config: str = CONFIG) -> None:
        self.path = str(directory / "s")
        self._log = directory / "log"
        (directory / "chatmail.toml").write_text(config)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen()
        self.process = inherit(listening, directory / "chatmail.toml", self._log)
        listening.close()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def submit(self, message: bytes, sender: str = ALICE, recipient: str = BOB) -> Answer:
        with MilterClient(self.path) as client:
            assert client.connect("submission") == "continue"
            return client.message(sender, [recipient], message)

    def take(
        self,
        message: bytes,
        sender: str = ALICE,
        *results: str,
        road: str = "smtp",
        peer: str = "192.0.2.7",
        chunk: int = 65535,
    ) -> Answer:
        """The answer to a message from a peer, to which OpenDKIM added `results`."""
        added = "".join(f"Authentication-Results: {result}\r\n" for result in results).encode()
        with MilterClient(self.path) as client:
            assert client.connect(road, peer) == "continue"
            return client.message(sender, [BOB], added + message, chunk)


def inherit(listening: socket.socket, config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts the program with `listening` as descriptor 3, the way systemd does (sd_listen_fds(3))."""

    def become_systemd() -> None:
        os.dup2(listening.fileno(), 3, inheritable=True)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), CHATMAIL_CONFIG=str(config))

    with log.open("wb") as stderr:
        return subprocess.Popen(
            [PROGRAM],
            preexec_fn=become_systemd,
            pass_fds=(3,),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )


@pytest.fixture(scope="module")
def milter() -> Iterator[Milter]:
    with tempfile.TemporaryDirectory() as directory:
        running = Milter(Path(directory))
        try:
            wait_for(running.path)
            yield running
            assert running.process.poll() is None, running.log
        finally:
            # Not SIGTERM: libmilter takes up to five seconds to heed it, which has a test of its own.
            running.process.kill()
            running.process.wait()


def signed(by: str = "a.example", result: str = "pass") -> str:
    return f"mx.a.example; dkim={result} (2048-bit key; unprotected) header.d={by} header.s=chatmail"


def code(answer: Answer) -> int:
    return 250 if answer.reply == "continue" else int(answer.reply[:3])


rows = pytest.mark.parametrize("row", ROWS, ids=str)


@rows
def test_the_promised_verdicts_on_submission(milter: Milter, row: Row) -> None:
    message = row.build()
    answer = milter.submit(message)
    assert code(answer) == row.to_bob
    if row.to_bob == AUTHOR:
        assert answer.reply == f"500 5.7.1 Invalid FROM <{row.author}> for <{ALICE}>"
    assert code(milter.submit(message, recipient=ALICE)) == row.to_self


@rows
@pytest.mark.parametrize("road", ["smtp", "mxdeliv"])
def test_the_promised_verdicts_on_mail_coming_in(milter: Milter, row: Row, road: str) -> None:
    domain = row.author.rpartition("@")[2]
    answer = milter.take(row.build(), row.peer_sender, signed(domain), road=road)
    assert code(answer) == row.incoming
    assert answer.changed == ()


def test_several_messages_on_one_connection_do_not_mix(milter: Milter) -> None:
    with MilterClient(milter.path) as client:
        client.connect("submission")
        for message, reply in ((GOOD, "continue"), (CLEAR, CLEARTEXT)) * 2:
            assert client.message(ALICE, [BOB], message).reply == reply
        client.envelope(ALICE, [BOB])
        client.header([(b"From", b"eve@c.example")])
        client.send(b"A")
        assert client.message(ALICE, [BOB], GOOD).reply == "continue"


@pytest.mark.parametrize("chunk", [1, 7, 65535])
def test_chunks_do_not_matter(milter: Milter, chunk: int) -> None:
    assert milter.take(GOOD, ALICE, signed(), chunk=chunk).reply == "continue"
    assert milter.take(GOOD + b"Hello", ALICE, signed(), chunk=chunk).reply == CLEARTEXT


class TestRoads:
    @pytest.mark.parametrize("road", ["internal", "reinject"])
    def test_that_are_not_judged(self, milter: Milter, road: str) -> None:
        with MilterClient(milter.path) as client:
            assert client.connect(road) == "accept"

    @pytest.mark.parametrize("road", ["", "smtpd", "mx.a.example"])
    def test_that_nobody_told_us_about(self, milter: Milter, road: str) -> None:
        with MilterClient(milter.path) as client:
            assert client.connect(road) == "451 4.3.0 Internal error, try again later"
        assert "reason=daemon-name" in milter.log

    def test_only_what_is_needed_is_asked_and_waited_for(self, milter: Milter) -> None:
        with MilterClient(milter.path) as client:
            # SMFIP_: no HELO, no unknown commands, no DATA; no replies to MAIL, RCPT, headers, EOH, body.
            assert client.agreed_steps == 0x2 | 0x100 | 0x200 | 0x4000 | 0x8000 | 0x80 | 0x40000 | 0x80000
            # SMFIF_: add and change headers, change sender, name macros.
            assert client.agreed_actions == 0x1 | 0x10 | 0x40 | 0x100
            assert client.macros_wanted == {0: "{daemon_name}", 5: "i"}

    @pytest.mark.parametrize("steps", [0, 0x7F, ALL_STEPS])
    def test_a_client_that_offers_less_gets_the_same_answers(self, milter: Milter, steps: int) -> None:
        with MilterClient(milter.path, actions=0x1FF if steps else 0x5F, steps=steps) as client:
            assert client.connect("submission") == "continue"
            assert client.message(ALICE, [BOB], GOOD).reply == "continue"
            assert client.message(ALICE, [BOB], CLEAR).reply == CLEARTEXT


class TestDkim:
    @pytest.mark.parametrize(
        ("results", "reply"),
        [
            ((signed(),), "continue"),
            ((), "554 5.7.1 No DKIM signature found"),
            (("mx.a.example; dkim=none",), "554 5.7.1 No DKIM signature found"),
            ((signed("c.example"),), "554 5.7.1 No valid DKIM signature found"),
            ((signed(result="fail"),), "554 5.7.1 No valid DKIM signature found"),
            ((signed(result="temperror"),), "451 4.7.5 DKIM key lookup failed, try again later"),
            (("c.example; dkim=pass header.d=a.example",), "554 5.7.1 No DKIM signature found"),
        ],
    )
    def test_must_be_of_the_author_s_domain(
        self, milter: Milter, results: tuple[str, ...], reply: str
    ) -> None:
        assert milter.take(GOOD, ALICE, *results).reply == reply

    def test_forged_results_do_not_count_and_are_removed_from_the_last_on(self, milter: Milter) -> None:
        first = signed("c.example")
        assert code(milter.take(GOOD, ALICE, first, signed(), signed())) == 554
        answer = milter.take(
            GOOD, ALICE, signed(), signed("c.example"), "c.example; dkim=pass", signed("d.example")
        )
        assert answer == Answer("continue", ("Authentication-Results[4]=", "Authentication-Results[2]="))

    def test_a_result_that_the_signature_wrote_itself(self, milter: Milter) -> None:
        message = (
            b"DKIM-Signature: v=1; d=c.example; i=x=3Bdkim=3Dpass=20header.d=3Da.example@c.example; b=A\r\n"
            + GOOD
        )
        assert code(milter.take(message, ALICE, signed())) == 554


class TestSender:
    def test_another_than_the_author_becomes_null_on_the_way_in(self, milter: Milter) -> None:
        assert milter.take(GOOD, "list@c.example", signed()) == Answer("continue", ("from=<>",))
        assert milter.take(GOOD, "", signed()) == Answer("continue")
        assert milter.take(CLEAR, "list@c.example", signed()) == Answer(CLEARTEXT)

    def test_another_than_the_author_is_refused_on_submission(self, milter: Milter) -> None:
        assert milter.submit(GOOD, "carol@a.example").reply == (
            "500 5.7.1 Invalid FROM <alice@a.example> for <carol@a.example>"
        )

    def test_a_subject_that_postfix_took_away_becomes_dots(self, milter: Milter) -> None:
        bare = GOOD.replace(b"Subject: [...]\r\n", b"")
        assert milter.submit(GOOD) == Answer("continue")
        assert milter.submit(bare) == Answer("continue", ("+Subject: [...]",))
        assert milter.take(bare, ALICE, signed()) == Answer("continue")

    def test_white_space_before_the_colon_hides_no_second_author(self, milter: Milter) -> None:
        assert code(milter.submit(b"From : eve@c.example\r\n" + GOOD)) == 500

    def test_capitals_make_no_other_sender(self, milter: Milter) -> None:
        assert milter.submit(GOOD, "Alice@A.Example").reply == "continue"

    @pytest.mark.parametrize(
        ("author", "quoted"),
        [
            (b"100%n%s <a@a.example>, b@b.example", "100%n%s <a@a.example>, b@b.example"),
            (b"a@a.example\n\t(x\n y\r) z", "a@a.example\t(x y) z"),
            ("jörg".encode() + b"\xff\x01\x7f", "j??rg???"),
            (b"x" * 5000, "x" * 256),
        ],
    )
    def test_hostile_authors_fit_into_the_reply(self, milter: Milter, author: bytes, quoted: str) -> None:
        message = GOOD.replace(b"From: <alice@a.example>", b"From: " + author.replace(b"\n", b"\r\n"), 1)
        reply = milter.submit(message).reply
        assert reply.startswith("500 5.7.1 Invalid FROM <")
        assert re.sub(r"[\t?]", "?", reply) == re.sub(
            r"[\t?]", "?", f"500 5.7.1 Invalid FROM <{quoted}> for <{ALICE}>"
        )

    @pytest.mark.parametrize(
        ("domain", "peer", "wanted"),
        [
            ("192.0.2.7", "192.0.2.7", 250),
            ("[192.0.2.7]", "192.0.2.7", 250),
            ("[192.0.2.7]", "192.0.2.8", 554),
            ("[192.0.2.7]", "2001:db8::7", 554),
            ("[IPv6:2001:db8::7]", "2001:db8::7", 250),
            ("[IPv6:2001:db8::7]", "2001:db8::8", 554),
        ],
    )
    def test_at_an_ip_literal(self, milter: Milter, domain: str, peer: str, wanted: int) -> None:
        message = GOOD.replace(b"alice@a.example", f"alice@{domain}".encode())
        assert code(milter.take(message, f"alice@{domain}", peer=peer)) == wanted


class TestTrouble:
    @pytest.mark.parametrize(
        "garbage",
        [
            b"\0\0\0\0",
            b"\0\0\0\1Z",
            b"\xff\xff\xff\xffO",
            b"GET / HTTP/1.1\r\n\r\n",
            struct.pack(">I", 2) + b"O\0",
            struct.pack(">IcIII", 13, b"O", 1, 0, 0),
            struct.pack(">I", 1) + b"E",
            struct.pack(">I", 4) + b"MM\0x",
        ],
    )
    def test_garbage_ends_its_own_connection_only(self, milter: Milter, garbage: bytes) -> None:
        with MilterClient(milter.path) as bystander, socket.socket(socket.AF_UNIX) as rude:
            bystander.connect("submission")
            bystander.envelope(ALICE, [BOB])
            rude.connect(milter.path)
            rude.sendall(garbage)
            rude.shutdown(socket.SHUT_WR)
            rude.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                while rude.recv(100):
                    pass
            assert bystander.message(ALICE, [BOB], GOOD).reply == "continue"

    def test_a_message_without_mail_from_is_no_message(self, milter: Milter) -> None:
        with MilterClient(milter.path) as client:
            client.connect("submission")
            client.header([(b"Subject", b"x")])
            client.body(b"Hello")
            assert client.message(ALICE, [BOB], GOOD).reply == "continue"

    def test_what_only_a_bug_can_bring_about_is_a_451_and_a_traceback_without_content(
        self, milter: Milter
    ) -> None:
        with MilterClient(milter.path) as client:
            # No connection was announced, so there is no road: Postfix never does that.
            assert client.message(ALICE, [BOB], GOOD).reply == "451 4.3.0 Internal error, try again later"
        assert "stage=envfrom fault=KeyError" in milter.log
        assert 'milter.py", line ' in milter.log

    def test_a_header_value_that_is_not_utf8_is_octets_like_others(self, milter: Milter) -> None:
        message = b"X-Name: \xff\xfe\x80\r\nSubject: \xe4\r\n" + GOOD
        assert milter.submit(message).reply == "continue"

    def test_a_header_name_that_is_not_utf8_is_tempfailed(self, milter: Milter) -> None:
        with MilterClient(milter.path) as client:
            client.connect("submission")
            assert client.message(ALICE, [BOB], b"X\xff: hello\r\n" + GOOD).reply == (
                "451 4.3.0 Internal error, try again later"
            )
            assert client.message(ALICE, [BOB], GOOD).reply == "continue"
        assert "fault=UnicodeDecodeError" in milter.log
        assert "hello" not in milter.log


def test_the_log_has_a_line_for_each_decision_and_nobody_s_address(milter: Milter) -> None:
    before = len(milter.log)
    milter.submit(GOOD)
    milter.submit(CLEAR)
    milter.take(GOOD, "list@c.example", signed())
    milter.take(GOOD, ALICE, road="mxdeliv")
    lines = milter.log[before:].splitlines()
    assert [line.rpartition(" size=")[0] for line in lines] == [
        "road=submission verdict=pass reason=encrypted queue=4Xb2",
        "road=submission verdict=reject reason=not-encrypted queue=4Xb2",
        "road=smtp verdict=pass reason=encrypted queue=4Xb2",
        "road=mxdeliv verdict=reject reason=dkim-none queue=4Xb2",
    ]
    # Folded lines come to us with LF for CRLF.
    assert 0 <= len(GOOD) - int(lines[0].rpartition("size=")[2]) <= 2
    assert "@" not in milter.log


def test_memory_does_not_grow_with_the_message(milter: Milter) -> None:
    def resident() -> int:
        status = Path(f"/proc/{milter.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    milter.submit(GOOD)
    before = resident()
    huge = messages.sealed(packets.partial(packets.SEIPD, b"\x01" + packets.noise(40_000_000), 16))
    assert milter.submit(huge).reply == "continue"
    # In KiB. The chunks themselves, and what malloc keeps of them for later.
    assert resident() - before < 4096
