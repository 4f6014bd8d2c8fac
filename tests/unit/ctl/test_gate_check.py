"""`chatmailctl gate check` prints verdict, rule and structure of a message, and none of its content."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import chatmail_milter.gate
from chatmail_milter.ctl.gate import gate
from chatmail_milter.gate.gate import Kind
from chatmail_milter.gate.reasons import rule
from tests import messages, packets
from tests.messages import (
    ALICE,
    BOB,
    BOUNDARY,
    VERSION_PART,
    encrypted_part,
    envelope_fields,
    multipart,
    part,
)

GOOD = messages.sealed(packets.pkesk() + packets.seipd())
REFUSED = "Encryption Needed: Invalid Unencrypted Mail"
IN = ("--direction", "in")


def check(message: bytes, *arguments: str) -> Result:
    return CliRunner().invoke(gate, ["check", *arguments, "-"], input=message)


def seen(message: bytes, *arguments: str) -> Any:
    """What the gate saw of the message, and the reason under which it answered."""
    said = json.loads(check(message, "--json", *arguments).stdout)
    return said["message"], said["reason"]


def packets_seen(octets: bytes, *arguments: str) -> tuple[list[tuple[Any, ...]], str]:
    """Tag, name, version, length and whether partial, of each packet."""
    message, reason = seen(messages.sealed(octets), *arguments)
    return [tuple(packet.values()) for packet in message["parts"][1]["packets"]], reason


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        (GOOD, (), ("pass", 250, "OK", "encrypted")),
        (GOOD.replace(b"\r\n", b"\n"), IN, ("pass", 250, "OK", "encrypted")),
        (GOOD, ("--sender", BOB), ("reject", 500, f"Invalid FROM <{ALICE}> for <{BOB}>", "from-mismatch")),
        (GOOD, ("--sender", "Alice@A.example"), ("pass", 250, "OK", "encrypted")),
        (messages.text(), IN, ("reject", 523, REFUSED, "not-encrypted")),
        (messages.report(), (*IN, "--sender", "<>"), ("pass", 250, "OK", "report")),
        (
            messages.setup_message(),
            ("--sender", ALICE, "--recipient", ALICE),
            ("pass", 250, "OK", "setup-message"),
        ),
        (
            messages.setup_message(),
            ("--recipient", ALICE, "--recipient", BOB),
            ("reject", 523, REFUSED, "not-encrypted"),
        ),
        (b"\r\n", (), ("reject", 500, "Invalid FROM <> for <>", "from-mismatch")),
    ],
)
def test_says_which_rule_decided(
    message: bytes, arguments: tuple[str, ...], said: tuple[str, int, str, str]
) -> None:
    result = check(message, "--json", *arguments)
    answer = json.loads(result.stdout)
    assert tuple(answer[key] for key in ("verdict", "code", "text", "reason")) == said
    assert answer["rule"] == rule(said[3])
    assert result.exit_code == (0 if said[0] == "pass" else 1)


def test_shows_people_what_passes(tmp_path: Path) -> None:
    path = tmp_path / "message"
    octets = packets.pkesk() * 2 + packets.skesk(6) + packets.seipd(2)
    armor = packets.armored(octets, headers=("Comment: x",))
    message = messages.encrypted(armor)
    body = message.partition(b"\r\n\r\n")[2]
    path.write_bytes(message)
    result = CliRunner().invoke(gate, ["check", *IN, str(path)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "pass: 250 2.0.0 OK (encrypted)",
        "rule: one encrypted OpenPGP message, and nothing else, in multipart/encrypted",
        f"multipart/encrypted, transfer encoding none, {len(body)} octets",
        "  part 1: application/pgp-encrypted, transfer encoding 7bit, 12 octets",
        f"  part 2: application/octet-stream, transfer encoding 7bit, {len(armor)} octets",
        "    armor: headers Comment, CRC yes",
        "    packet PKESK (1), version 3, 95 octets, 2 times",
        "    packet SKESK (3), version 6, 13 octets",
        "    packet SEIPD (18), version 2, 301 octets",
    ]


def test_shows_people_what_is_refused() -> None:
    result = check(messages.text())
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"reject: 523 5.7.1 {REFUSED} (not-encrypted)",
        "rule: neither multipart/encrypted nor one of the messages that may be in clear",
        "text/plain, transfer encoding none, 21 octets",
    ]


def test_shows_the_parts_as_far_as_the_gate_got() -> None:
    parts = [VERSION_PART, encrypted_part(packets.armored(packets.seipd())), part("text/html", "Hello")]
    typed = ("Content-Type", f'multipart/encrypted; boundary="{BOUNDARY}"')
    message, reason = seen(messages.message([*envelope_fields(), typed], multipart(parts)))
    assert reason == "part-count"
    assert [each["type"] for each in message["parts"]] == [
        "application/pgp-encrypted",
        "application/octet-stream",
        "text/html",
    ]
    assert message["parts"][1]["armor"] == {"headers": [], "crc": True}
    assert message["parts"][2]["octets"] == 0


@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize("headers", [(), ("Version: x", "Comment: y")])
def test_shows_what_the_armor_has(crc: bool, headers: tuple[str, ...]) -> None:
    message, _ = seen(messages.sealed(packets.seipd(), headers=headers, crc=crc), *IN)
    assert message["parts"][1]["armor"] == {
        "headers": [each.partition(":")[0] for each in headers],
        "crc": crc,
    }


def test_shows_packets_in_base64_without_armor() -> None:
    text = base64.encodebytes(packets.seipd()).decode().replace("\n", "\r\n")
    octets = messages.encrypted(text)
    encoding, _, rest = octets.rpartition(b"Content-Transfer-Encoding: 7bit")
    message, reason = seen(encoding + b"Content-Transfer-Encoding: base64" + rest, *IN)
    assert reason == "encrypted"
    assert message["parts"][1]["armor"] is None
    assert message["parts"][1]["packets"][0]["length"] == 301


@pytest.mark.parametrize(
    ("octets", "shown", "reason"),
    [
        (
            packets.new(packets.MARKER, b"PGP") + packets.new(packets.PADDING, b"xyz") + packets.seipd(),
            [(10, "marker", None, 3, False), (21, "padding", None, 3, False), (18, "SEIPD", 1, 301, False)],
            "encrypted",
        ),
        (
            packets.partial(packets.SEIPD, b"\x01" + packets.noise(3000), 9),
            [(18, "SEIPD", 1, 3001, True)],
            "encrypted",
        ),
        (
            packets.pkesk() + packets.new(packets.LITERAL, b"b\0\0\0\0\0Hello"),
            [(1, "PKESK", 3, 95, False), (11, "literal data", None, None, False)],
            "packets-tag-11",
        ),
        (packets.new(63, b"x"), [(63, "unknown", None, None, False)], "packets-tag-63"),
        (packets.pkesk(9) + packets.seipd(), [(1, "PKESK", 9, 95, False)], "packets-version-1"),
        (
            packets.seipd() + packets.seipd(),
            [(18, "SEIPD", 1, 301, False), (18, "SEIPD", None, None, False)],
            "packets-after-seipd",
        ),
        (
            packets.legacy(packets.PKESK, b"\x03", 3),
            [(1, "PKESK", None, None, False)],
            "packets-indeterminate",
        ),
        (packets.seipd()[:-1], [(18, "SEIPD", 1, 301, False)], "packets-truncated"),
    ],
)
def test_shows_the_packets(octets: bytes, shown: list[tuple[Any, ...]], reason: str) -> None:
    assert packets_seen(octets) == (shown, reason)


@pytest.mark.parametrize("arguments", [(), IN])
@pytest.mark.parametrize(
    "message",
    [
        messages.encrypted(packets.armored(packets.seipd(), headers=("Comment: secret",)), preamble="\r\n"),
        messages.encrypted(packets.armored(packets.seipd()), epilogue="secret\r\n"),
        messages.encrypted(packets.armored(packets.seipd()), preamble="secret\r\n"),
        messages.encrypted(
            packets.armored(packets.seipd()), fields=[("Secure-Join", "secret"), ("Subject", "secret")]
        ),
        messages.text("secret", "text/plain; name=secret"),
        messages.text("secret", "text/secret"),
        messages.text("secret", "secret/plain"),
        messages.text("secret", "secret"),
        messages.text().replace(b"Content-Type", b"Content-Transfer-Encoding: secret\r\nContent-Type"),
        messages.sealed(packets.seipd()).replace(BOUNDARY.encode(), b"secret"),
        messages.sealed(packets.seipd()).replace(b"encrypted.asc", b"secret.asc"),
        messages.sealed(packets.seipd()).replace(b": 7bit", b": secret"),
        messages.sealed(packets.seipd()).replace(b"octet-stream", b"secret"),
        messages.sealed(packets.new(packets.LITERAL, b"b\0\0\0\0\0secret")),
        messages.secure_join(body="secret"),
    ],
)
def test_never_prints_content(message: bytes, arguments: tuple[str, ...]) -> None:
    for more in ((), ("--json",)):
        result = check(message, *arguments, *more)
        assert result.exit_code in (0, 1)
        assert result.stdout
        assert "secret" not in result.output.lower()


def test_every_reason_has_its_rule() -> None:
    room = Path(chatmail_milter.gate.__path__[0])
    source = "".join(path.read_text() for path in room.glob("*.py"))
    given = r'(?:RefusedError\(\s*|\belse |FixedText\(\w+, |_outside = )"([a-z0-9-]+)"'
    reasons = set(re.findall(given, source)) | {kind.value for kind in Kind if kind is not Kind.NONE}
    assert {"packets-malformed", "version-part", "boundary-line", "epilogue", "report"} < reasons
    for reason in reasons:
        assert rule(reason)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/no/such/file"], "No such file"),
        (["/"], "Is a directory"),
        (["-"], "this one is empty"),
        (["/dev/null"], "this one is empty"),
        ([], "this one is empty"),
        (["-", "--direction", "sideways"], "sideways"),
        (["-", "--sender", "alice"], "local-part@domain"),
        (["-", "--recipient", "a b@c"], "an address has no spaces"),
        (["-", "--postfix", "three"], "as in 3.10"),
        (["-", "--unknown"], "--unknown"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(gate, ["check", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("version", "passes"), [("3.7", False), ("3.7.11", False), ("3.10", True), ("4.0", True)]
)
def test_changes_the_message_as_the_named_version_of_postfix(version: str, passes: bool) -> None:
    result = check(b"From a Mon\r\n b\r\n" + GOOD, "--postfix", version)
    assert (result.exit_code == 0) == passes, result.output


def test_does_not_wait_for_somebody_to_type_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(click.UsageError, match="name a FILE"):
        gate.main(["check"], standalone_mode=False)


def test_reads_standard_input_where_no_file_is_named() -> None:
    assert CliRunner().invoke(gate, ["check"], input=GOOD).exit_code == 0
