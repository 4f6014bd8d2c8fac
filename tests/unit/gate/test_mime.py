"""MIME (RFC 2045, 2046 and 3156) as the gate reads it, with hostile input."""

from __future__ import annotations

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, check
from tests import messages, packets
from tests.messages import (
    ALICE,
    BOB,
    BOUNDARY,
    VERSION_PART,
    encrypted_part,
    envelope_fields,
    message,
    multipart,
    part,
)
from tests.work import assert_linear

ARMOR = packets.armored(packets.pkesk() + packets.seipd())
GOOD = messages.encrypted(ARMOR)
TYPED = f'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="{BOUNDARY}"'

# The beginning of the second part, the header of one that is right, and the end of the message.
SECOND = f"--{BOUNDARY}\r\n{VERSION_PART}\r\n--{BOUNDARY}\r\n"
OCTETS = "Content-Type: application/octet-stream\r\n\r\n"
ENDS = f"\r\n--{BOUNDARY}--\r\n"


def reason(octets: bytes, direction: Direction = Direction.OUT, envelope: Envelope | None = None) -> str:
    return check(direction, envelope or Envelope(ALICE, (BOB,)), octets).reason


def with_type(*content_types: str, body: str | None = None) -> bytes:
    typed = [("Content-Type", content_type) for content_type in content_types]
    return message([*envelope_fields(), *typed], body or multipart([VERSION_PART, encrypted_part(ARMOR)]))


def with_parts(*parts: str, **around: str) -> bytes:
    return message([*envelope_fields(), ("Content-Type", TYPED)], multipart(parts, **around))


@pytest.mark.parametrize(
    "content_type",
    [
        TYPED,
        f"multipart/encrypted; boundary={BOUNDARY}",
        f'MULTIPART/Encrypted;\r\n Protocol="x";\r\n\tBOUNDARY="{BOUNDARY}";',
        f' multipart/encrypted ; boundary = "{BOUNDARY}" ; ; x="\\"y\\\\"',
    ],
)
def test_content_types_that_mean_the_same(content_type: str) -> None:
    assert reason(with_type(content_type)) == "encrypted"


@pytest.mark.parametrize(
    ("content_types", "why"),
    [
        ((), "content-type"),
        ((TYPED, TYPED), "content-type"),
        ((TYPED, "text/plain"), "content-type"),
        (("text/plain", TYPED), "content-type"),
        ((TYPED + "; boundary=x",), "content-type"),
        ((f"multipart/encrypted (hello); boundary={BOUNDARY}",), "content-type"),
        ((f"multipart/encrypted boundary={BOUNDARY}",), "content-type"),
        (("multipart/encrypted",), "boundary"),
        (('multipart/encrypted; boundary=""',), "boundary"),
        ((f'multipart/encrypted; boundary="{"x" * 71}"',), "boundary"),
        ((f"multipart/encrypted; boundary*=utf-8''{BOUNDARY}",), "boundary"),
        ((f"multipart/encrypted; boundary*0={BOUNDARY}",), "boundary"),
        ((TYPED + "; boundary*=utf-8''other",), "boundary"),
        ((TYPED.replace("encrypted;", "encrypted\0;", 1),), "content-type"),
        # Some programs take a lone CR for a line end: to them these say something else.
        ((TYPED.replace("encrypted;", "encryp\rted;", 1),), "content-type"),
        ((TYPED.replace("protocol", "\rprotocol", 1),), "content-type"),
        ((TYPED.replace("pgp-encrypted", "pgp-\rencrypted", 1),), "content-type"),
        ((TYPED + "; x=" + "y" * 5000,), "content-type"),
        (("multipart/mixed; boundary=" + BOUNDARY,), "not-encrypted"),
        (("multipart/signed; boundary=" + BOUNDARY,), "not-encrypted"),
        (("application/pgp-encrypted",), "not-encrypted"),
        (("",), "content-type"),
    ],
)
def test_content_types_that_are_refused(content_types: tuple[str, ...], why: str) -> None:
    assert reason(with_type(*content_types)) == why


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x", "7\rbit", "7bit" + " " * 5000 + "x"])
def test_a_multipart_has_no_transfer_encoding(encoding: str) -> None:
    fields = [*envelope_fields(), ("Content-Type", TYPED), ("Content-Transfer-Encoding", encoding)]
    assert reason(message(fields, multipart([VERSION_PART, encrypted_part(ARMOR)]))) == "transfer-encoding"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (with_parts(), "part-count"),
        (with_parts(VERSION_PART), "part-count"),
        (with_parts(encrypted_part(ARMOR)), "part-type"),
        (with_parts(encrypted_part(ARMOR), VERSION_PART), "part-type"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), encrypted_part(ARMOR)), "part-count"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), part("text/plain", "Hello")), "part-count"),
        (with_parts(VERSION_PART, part("text/plain", ARMOR)), "part-type"),
        (with_parts(VERSION_PART, part(TYPED.replace(BOUNDARY, "x"), ARMOR)), "part-type"),
        (with_parts(part("text/plain", "Version: 1"), encrypted_part(ARMOR)), "part-type"),
        (with_parts(part("application/pgp-encrypted", "Version: 2"), encrypted_part(ARMOR)), "version-part"),
        (
            with_parts(part("application/pgp-encrypted", "Version: 1\r\nHi"), encrypted_part(ARMOR)),
            "version-part",
        ),
        (with_parts(part("application/pgp-encrypted", ""), encrypted_part(ARMOR)), "version-part"),
        (
            with_parts(
                part("application/pgp-encrypted", " " * 100 + "Version: 1" + "\n" * 100),
                encrypted_part(ARMOR),
            ),
            "encrypted",
        ),
        (
            with_parts(
                part("application/pgp-encrypted", "Version: 1" + " " * 100 + "Hi"), encrypted_part(ARMOR)
            ),
            "version-part",
        ),
        (with_parts("\r\nVersion: 1", encrypted_part(ARMOR)), "content-type"),
        (with_parts("Hello\r\n\r\nVersion: 1", encrypted_part(ARMOR)), "part-header"),
        (with_parts(VERSION_PART, "Content-Type: text/plain\r\n" + encrypted_part(ARMOR)), "content-type"),
        (
            with_parts(VERSION_PART, encrypted_part(ARMOR).replace("\r\n\r\n", "\r\n \r\n\r\n", 1)),
            "part-header",
        ),
        (with_parts(VERSION_PART, "X-Hello: a\r\rb\r\n" + encrypted_part(ARMOR)), "part-header"),
        (with_parts(VERSION_PART, "X-Hello: a\0b\r\n" + encrypted_part(ARMOR)), "part-header"),
        (with_parts(VERSION_PART, "X-Hello: a\r\r\n" + encrypted_part(ARMOR)), "part-header"),
        (with_parts(VERSION_PART, "X-Hello : a\r\n" + encrypted_part(ARMOR)), "part-header"),
        (with_parts(VERSION_PART, " X-Hello: a\r\n" + encrypted_part(ARMOR)), "part-header"),
        (with_parts(VERSION_PART, "X-Hello:\r\n\ta\n b\xe4\r\n" + encrypted_part(ARMOR)), "encrypted"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR).replace("; name", ";\r\n\tname")), "encrypted"),
        (with_parts(VERSION_PART, "X-Hello: " + "x" * 9000 + "\r\n" + encrypted_part(ARMOR)), "part-header"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), preamble="This is MIME.\r\n"), "preamble"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), preamble=" "), "preamble"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), preamble="\r\n \r\n"), "encrypted"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), epilogue="\r\n \r\n"), "encrypted"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), epilogue="\r\n\0"), "epilogue"),
        (with_parts(VERSION_PART, encrypted_part(ARMOR), epilogue=f"--{BOUNDARY}--\r\n"), "epilogue"),
        (GOOD.removesuffix(f"--{BOUNDARY}--\r\n".encode()), "multipart-truncated"),
        (GOOD.removesuffix(b"\r\n"), "encrypted"),
        (GOOD.replace(b"\r\n", b"\n"), "encrypted"),
        (GOOD.replace(f"--{BOUNDARY}\r".encode(), f"--{BOUNDARY} \t \r".encode()), "encrypted"),
        (GOOD.replace(f"--{BOUNDARY}\r".encode(), f"--{BOUNDARY}x\r".encode()), "preamble"),
        (GOOD.replace(f"--{BOUNDARY}\r".encode(), f"--{BOUNDARY}\r \r".encode()), "preamble"),
        (GOOD.replace(f"--{BOUNDARY}\r".encode(), f"--{BOUNDARY}\r\r".encode()), "preamble"),
        (GOOD.replace(f"\r\n--{BOUNDARY}--".encode(), f"\r\n--{BOUNDARY}-".encode()), "boundary-line"),
        (GOOD.replace(b"\r\n--", b"\r--"), "preamble"),
        (with_type(TYPED, body=" " * 3_000_000), "multipart-truncated"),
        (with_type(TYPED, body="\r\n" * 1_000_000 + "Hello"), "preamble"),
    ],
)
def test_what_a_body_may_look_like(octets: bytes, why: str) -> None:
    assert reason(octets) == why


def test_a_boundary_that_begins_the_armor_is_a_boundary() -> None:
    body = multipart([VERSION_PART, encrypted_part(ARMOR)], "---BEGIN PGP MESSAGE-----")
    assert (
        reason(with_type('multipart/encrypted; boundary="---BEGIN PGP MESSAGE-----"', body=body))
        != "encrypted"
    )


@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        (SECOND, "X: y\r\n", ENDS),
        (SECOND, "X: y", ENDS),
        (SECOND + OCTETS, "\r\n", ENDS),
        (SECOND + OCTETS, "-", ENDS),
        (SECOND + OCTETS, f"\r\n-{BOUNDARY}", ENDS),
        ("", f"--{BOUNDARY}", ""),
        (f"--{BOUNDARY}", " ", ""),
        ("", f"--{BOUNDARY}\r\n", ""),
    ],
)
def test_hostile_bodies_cost_work_in_proportion(before: str, unit: str, after: str) -> None:
    def ask(size: int) -> str:
        return reason(with_type(TYPED, body=before + unit * (size // len(unit)) + after))

    assert ask(5_000_000) != "encrypted"
    assert_linear(ask, 64 << 10)


class TestReports:
    SENDERS = ("", "mailer-daemon@b.example", "MAILER-DAEMON@b.example")

    @pytest.mark.parametrize("sender", SENDERS)
    def test_pass_from_a_mail_system(self, sender: str) -> None:
        assert reason(messages.report(), Direction.IN, Envelope(sender, (ALICE,))) == "report"

    @pytest.mark.parametrize(
        "value",
        [
            "auto-generated",
            "Auto-Replied (vacation)",
            "auto-notified; owner-email=x@b.example",
            "auto-x\r\n (no)",
        ],
    )
    def test_pass_however_they_say_that_nobody_wrote_them(self, value: str) -> None:
        octets = messages.report("MAILER-DAEMON@b.example", ("Auto-Submitted", value))
        assert reason(octets, Direction.IN, Envelope("", (ALICE,))) == "report"

    @pytest.mark.parametrize(
        "value", ["no", "NO", "no (really)", "no; x=y", "no\r\n (x)", "", "(x) no", "a b"]
    )
    def test_are_refused_if_somebody_did(self, value: str) -> None:
        octets = messages.report("MAILER-DAEMON@b.example", ("Auto-Submitted", value))
        assert reason(octets, Direction.IN, Envelope("", (ALICE,))) == "not-encrypted"

    @pytest.mark.parametrize(
        ("octets", "sender"),
        [
            (messages.report(), BOB),
            (messages.report(BOB), ""),
            (messages.report("not-mailer-daemon@b.example"), ""),
            (messages.report("MAILER-DAEMON@b.example", ("Auto-Submitted", "no")), ""),
            (messages.report("MAILER-DAEMON@b.example", ("X-Auto-Submitted", "auto-replied")), ""),
            (messages.report().replace(b"multipart/report", b"multipart/mixed"), ""),
            (messages.report().replace(b"delivery-status;", b"disposition-notification;"), ""),
            (messages.read_receipt("mailer-daemon@b.example"), ""),
            (messages.report("a@b.example, MAILER-DAEMON@b.example"), ""),
        ],
    )
    def test_of_others_are_refused(self, octets: bytes, sender: str) -> None:
        assert reason(octets, Direction.IN, Envelope(sender, (ALICE,))) == "not-encrypted"


class TestSetupMessages:
    @pytest.mark.parametrize(
        ("octets", "envelope"),
        [
            (messages.setup_message(), Envelope(ALICE, (BOB,))),
            (messages.setup_message(), Envelope(ALICE, (ALICE, BOB))),
            (messages.setup_message(), Envelope(ALICE, ())),
            (messages.setup_message(), Envelope("", ("",))),
            (messages.setup_message("Re: Autocrypt Setup Message"), Envelope(ALICE, (ALICE,))),
            (
                messages.setup_message().replace(b"multipart/mixed", b"multipart/alternative"),
                Envelope(ALICE, (ALICE,)),
            ),
        ],
    )
    def test_pass_only_to_oneself(self, octets: bytes, envelope: Envelope) -> None:
        assert reason(octets, Direction.OUT, envelope) == "not-encrypted"

    def test_never_come_in(self) -> None:
        assert reason(messages.setup_message(), Direction.IN, Envelope(ALICE, (ALICE,))) == "not-encrypted"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (messages.secure_join(body="  SECURE-JOIN: VC-REQUEST\r\n\r\n"), "securejoin"),
        (messages.secure_join(body="secure-join: vg-request"), "securejoin"),
        (messages.secure_join("VC-Request"), "securejoin"),
        (messages.secure_join(preamble="Hello\r\n"), "preamble"),
        (messages.secure_join(epilogue="Hello\r\n"), "epilogue"),
        (messages.secure_join(body="secure-join: vc-request\r\nHello"), "securejoin-body"),
        (messages.secure_join("vc-request-with-auth"), "not-encrypted"),
        (messages.secure_join("vc-pubkey"), "not-encrypted"),
        (messages.secure_join().replace(b"text/plain", b"text/html"), "part-type"),
        (messages.secure_join().replace(b"Secure-Join: vc", b"X: vc", 1), "not-encrypted"),
        (
            messages.secure_join(epilogue="").replace(
                f"--{BOUNDARY}--".encode(),
                f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nHello\r\n--{BOUNDARY}--".encode(),
            ),
            "part-count",
        ),
    ],
)
def test_the_first_step_of_securejoin(octets: bytes, why: str) -> None:
    assert reason(octets) == reason(octets, Direction.IN) == why
