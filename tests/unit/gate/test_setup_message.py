"""The Autocrypt Setup Message (Autocrypt 1.1, 4.4): a passphrase-encrypted key, and no other content."""

from __future__ import annotations

import base64

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, check
from tests import messages, packets
from tests.messages import ALICE, BOUNDARY, setup_message

SEALED = packets.skesk() + packets.seipd()
ARMOR = packets.armored(SEALED, headers=("Passphrase-Format: numeric9x4", "Passphrase-Begin: 12"))


def reason(octets: bytes) -> str:
    return check(Direction.OUT, Envelope(ALICE, (ALICE,)), octets).reason


@pytest.mark.parametrize(
    "key",
    [
        f"<html><body>\r\n<p>Setup file.</p>\r\n<pre>\r\n{ARMOR}</pre></body></html>\r\n",
        ARMOR,
        packets.armored(SEALED),
        packets.armored(SEALED, crc=False),
        ARMOR.replace("\r\n", "\n"),
    ],
)
def test_as_apps_write_it(key: str) -> None:
    octets = setup_message(key=key)
    assert reason(octets) == reason(octets.replace(b"\r\n", b"\n")) == "setup-message"
    in_base64 = setup_message(key=base64.encodebytes(key.encode()).decode()).replace(
        b"Content-Disposition: attachment",
        b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment",
    )
    assert reason(in_base64) == "setup-message"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("<html><body><pre>Meet me at nine</pre></body></html>\r\n", "setup-key"),
        (ARMOR.removesuffix("-----END PGP MESSAGE-----\r\n"), "setup-key"),
        ("x" * 3000 + "\r\n" + ARMOR, "setup-text"),
        (ARMOR + "\r\n" + "x" * 3000, "setup-text"),
        (ARMOR + "\r\na\0b", "setup-text"),
        (ARMOR + ARMOR, "setup-key"),
        (ARMOR.replace("numeric9x4", "meet-me"), "armor-header"),
        (ARMOR.replace("Begin: 12", "Begin: at nine"), "armor-header"),
        (ARMOR.replace("Passphrase-Begin: 12", "Hello: Bob"), "armor-header"),
        (packets.armored(packets.new(packets.LITERAL, b"b\0\0\0\0\0Hello")), "packets-tag-11"),
        (packets.armored(packets.pkesk() + packets.seipd()), "setup-key"),
        (packets.armored(packets.skesk() + packets.pkesk() + packets.seipd()), "setup-key"),
        (packets.armored(SEALED[:-1]), "packets-truncated"),
    ],
)
def test_what_may_be_in_the_key_part(key: str, why: str) -> None:
    assert reason(setup_message(key=key)) == why


WHOLE = setup_message()
SECOND = f"--{BOUNDARY}\r\nContent-Type: application/autocrypt-setup".encode()


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (setup_message(text="x" * 5000), "setup-text"),
        (setup_message(text="a\0b"), "setup-text"),
        (WHOLE.replace(b"text/plain", b"text/html"), "part-type"),
        (WHOLE.replace(b"text/plain", b"text/plain; name=a.exe"), "setup-text"),
        (WHOLE.replace(b"application/autocrypt-setup", b"application/octet-stream"), "part-type"),
        (WHOLE.replace(SECOND, f"--{BOUNDARY}\r\n\r\nHello\r\n".encode() + SECOND), "part-count"),
        (WHOLE.partition(b"\r\n\r\n")[0] + b"\r\n\r\nHello\r\n", "multipart-truncated"),
        (WHOLE.replace(b"\r\n\r\n", b"\r\n\r\nHello\r\n", 1), "preamble"),
        (WHOLE + b"Hello\r\n", "epilogue"),
        (WHOLE + b" " * 66_000, "setup-size"),
        (WHOLE.replace(b"Autocrypt-Setup-Message: v1\r\n", b""), "not-encrypted"),
        (
            WHOLE.replace(b"Autocrypt-Setup-Message: v1\r\n", b"Autocrypt-Setup-Message: v2\r\n"),
            "not-encrypted",
        ),
    ],
)
def test_what_a_setup_message_is(octets: bytes, why: str) -> None:
    assert reason(octets) == why


def test_it_never_comes_in() -> None:
    assert check(Direction.IN, Envelope(ALICE, (ALICE,)), messages.setup_message()).reason == "not-encrypted"
