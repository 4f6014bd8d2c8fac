"""The messages whose verdict is promised (docs/gate.md, 3), each with the answer on every road.

Alice (a.example) submits to Bob, Alice submits to herself, or the message comes in from its author's relay.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from tests import case_files, messages, packets, reports
from tests.messages import ALICE, BOUNDARY, envelope_fields, message, multipart, part

PASS, CLEARTEXT, AUTHOR = 250, 523, 500


@dataclass(frozen=True)
class VerdictRow:
    """A message, and the SMTP code of its answer: submitted to Bob, to its sender, and coming in."""

    name: str
    build: Callable[[], bytes]
    to_bob: int
    to_self: int
    incoming: int
    # Who it comes in from: envelope sender and author.
    peer_sender: str = ALICE
    author: str = ALICE

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def _encrypted(
    name: str, build: Callable[[], bytes], incoming: int = PASS, outgoing: int = PASS
) -> VerdictRow:
    return VerdictRow(name, build, outgoing, outgoing, incoming)


def _refused(name: str, build: Callable[[], bytes]) -> VerdictRow:
    return VerdictRow(name, build, CLEARTEXT, CLEARTEXT, CLEARTEXT)


def _report(name: str, build: Callable[[], bytes], incoming: int = CLEARTEXT) -> VerdictRow:
    return VerdictRow(name, build, AUTHOR, AUTHOR, incoming, "", "mailer-daemon@b.example")


def _twice(name: str, value: str) -> VerdictRow:
    return _refused(
        f"a second {name}", lambda: messages.encrypted(packets.armored(_SEALED), fields=[(name, value)])
    )


def _inside(octets: bytes) -> Callable[[], bytes]:
    return lambda: messages.sealed(octets)


@cache
def _partial_30_megabytes() -> bytes:
    return messages.sealed(
        packets.pkesk() + packets.partial(packets.SEIPD, b"\x01" + packets.noise(21_600_000), 16)
    )


def _without_armor(octets: bytes) -> Callable[[], bytes]:
    # Each octet as it is: the message is put together in UTF-8, which would double the high ones.
    return lambda: messages.encrypted("RAW").replace(b"RAW", octets)


def _only_first_part() -> bytes:
    return message(
        [*envelope_fields(), ("Content-Type", f'multipart/encrypted; boundary="{BOUNDARY}"')],
        multipart([messages.VERSION_PART]),
    )


def _named_only_in(place: str) -> bytes:
    subject = "application/pgp-encrypted" if place == "subject" else "Hello"
    content_types = {
        "name": 'text/plain; name="application/pgp-encrypted"',
        "boundary": 'multipart/mixed; boundary="application/pgp-encrypted"',
    }
    clear = "application/pgp-encrypted\r\nHello\r\n" if place == "body" else "Hello\r\n"
    body = (
        multipart([part("text/plain", clear)], "application/pgp-encrypted") if place == "boundary" else clear
    )
    content_type = content_types.get(place, "text/plain")
    return message([*envelope_fields(subject=subject), ("Content-Type", content_type)], body)


def _attachment() -> bytes:
    parts = [part("text/plain", "See the picture.\r\n"), part("image/png; name=a.png", "iVBORw0KGgo=\r\n")]
    return message(
        [*envelope_fields(), ("Content-Type", f'multipart/mixed; boundary="{BOUNDARY}"')], multipart(parts)
    )


def _as_second_part(octets: bytes, *fields: str) -> bytes:
    """Octets as they are: what `messages` puts together is text."""
    body = multipart([messages.VERSION_PART, messages.encrypted_part("\0", *fields)]).encode()
    typed = ("Content-Type", f'multipart/encrypted; boundary="{BOUNDARY}"')
    return message([*envelope_fields(), typed], "").replace(
        b"\r\n\r\n", b"\r\n\r\n" + body.replace(b"\0", octets)
    )


def _from_files() -> Iterator[VerdictRow]:
    for name, (incoming, outgoing) in case_files.WRITTEN_BY_ALICE.items():
        yield _encrypted(f"file {name}", partial(case_files.octets, name), incoming, outgoing)
    for name, author in case_files.REPORTS.items():
        yield VerdictRow(f"file {name}", partial(case_files.octets, name), AUTHOR, AUTHOR, PASS, "", author)


_SEALED = packets.pkesk() + packets.seipd()
# Prose in the place of ciphertext, in octets and as Base64 that can be read.
_PROSE = packets.new(packets.SEIPD, b"\x01" + b"Dear Bob, meet me at nine behind the old mill. " * 20)
_SHORT_PROSE = packets.new(packets.SEIPD, b"\x01" + b"Dear Bob, meet me at nine. " * 4)
_WORDS = base64.b64decode("Itwasthebestoftimesitwastheworstoftimesitwastheageofwisdom" * 16)
_THUNDERBIRD = "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"
_FEEDBACK = "multipart/report; report-type=feedback-report"
_CLEAR = messages.text().decode()

ROWS = (
    _encrypted("PGP/MIME, PKESK and SEIPD", lambda: messages.encrypted(messages.pgpy_armor())),
    _encrypted(
        "PGP/MIME, SKESK and SEIPD", lambda: messages.encrypted(messages.pgpy_armor(passphrase="word"))
    ),
    _refused("text/plain with BEGIN and END lines", lambda: messages.text(packets.armored(_SEALED))),
    _refused("literal packet in the wrapper", _inside(packets.new(packets.LITERAL, b"b\0\0\0\0\0Hello"))),
    _refused("only the first part", _only_first_part),
    _refused(
        "text in the epilogue",
        lambda: messages.encrypted(packets.armored(_SEALED), epilogue="Hello\r\n"),
    ),
    _refused("pgp-encrypted in the subject only", lambda: _named_only_in("subject")),
    _refused("pgp-encrypted in a name only", lambda: _named_only_in("name")),
    _refused("pgp-encrypted in the boundary only", lambda: _named_only_in("boundary")),
    _refused("pgp-encrypted in the body only", lambda: _named_only_in("body")),
    _refused("plain text", messages.text),
    _refused("HTML", lambda: messages.text("<p>Hello</p>\r\n", "text/html")),
    _refused("attachment", _attachment),
    _refused("cleartext MDN", messages.read_receipt),
    _report("MAILER-DAEMON report", messages.report, PASS),
    VerdictRow("postmaster report", reports.courier, AUTHOR, AUTHOR, PASS, "", "postmaster@b.example"),
    _report("report with HTML", lambda: reports.report((reports.HTML_PART, reports.STATUS_PART))),
    _report("report with a program", lambda: reports.report((*reports.PARTS, reports.PROGRAM_PART))),
    _report("report of another type", lambda: reports.report(content_type=_FEEDBACK)),
    _report("report that is no multipart", lambda: reports.report((), preamble="Hello\r\n")),
    _report("report about a clear message", lambda: reports.with_quoted("message/rfc822", _CLEAR)),
    _report("report of 66 kB", lambda: reports.report(epilogue="\r\n" * 33_000)),
    _twice("Subject", "Hello"),
    _twice("To", "<carol@c.example>"),
    _twice("Date", "Sat, 22 Nov 2025 19:00:00 +0000"),
    VerdictRow("Autocrypt Setup Message", messages.setup_message, CLEARTEXT, PASS, CLEARTEXT),
    _encrypted("SecureJoin vc-request", messages.secure_join),
    _encrypted("SecureJoin vg-request", lambda: messages.secure_join("vg-request")),
    _refused("SecureJoin header, other body", lambda: messages.secure_join(body="Hello\r\n")),
    _encrypted("SEIPD with partial lengths, 30 MB", _partial_30_megabytes),
    _encrypted("armor without CRC24", lambda: messages.sealed(_SEALED, crc=False)),
    _encrypted(
        "Version: ProtonMail",
        lambda: messages.sealed(_SEALED, headers=("Version: ProtonMail",)),
        outgoing=CLEARTEXT,
    ),
    _encrypted(
        "Thunderbird's preamble line",
        lambda: messages.encrypted(packets.armored(_SEALED), preamble=_THUNDERBIRD),
    ),
    _refused("raw packets", _without_armor(_SEALED)),
    _refused("raw packets, prose framed as SEIPD", _without_armor(_PROSE)),
    _refused("armored prose framed as SEIPD", _inside(_PROSE)),
    _refused("prose in a session key", _inside(packets.new(packets.PKESK, _PROSE[1:]) + packets.seipd())),
    _refused("Base64 of words", _inside(packets.new(packets.SEIPD, b"\x01\x80\x0f" + _WORDS))),
    _encrypted(
        "raw packets in Base64",
        lambda: _as_second_part(base64.encodebytes(_SEALED), "Content-Transfer-Encoding: base64"),
        outgoing=CLEARTEXT,
    ),
    _refused("short prose framed as SEIPD", _inside(packets.pkesk() + _SHORT_PROSE)),
    _refused("a SEIPD without room for its MDC", _inside(packets.pkesk() + packets.seipd(size=20))),
    _refused(
        "a PKESK of 20 kB",
        _inside(packets.new(packets.PKESK, b"\x03" + packets.noise(20_000)) + packets.seipd()),
    ),
    _refused("two SEIPD", _inside(_SEALED + packets.seipd())),
    _refused("trailing packet", _inside(_SEALED + packets.new(packets.PADDING, b"x"))),
    _refused("truncated", _inside(_SEALED[:-1])),
    *_from_files(),
)
