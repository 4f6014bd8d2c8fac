"""Limits on the header: real mail is below them, longer headers are refused."""

from __future__ import annotations

from email.charset import BASE64, QP, Charset
from email.header import Header as EncodedHeader

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, check
from chatmail_milter.gate.header import Header
from tests import messages, packets
from tests.messages import ALICE, BOB, Fields

SEALED = packets.armored(packets.pkesk() + packets.seipd())

# RFC 5322, 3.6: the table's fields with "0 or 1" or "1" as their number.
ONCE = (
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
)


def reason(fields: Fields, direction: Direction = Direction.IN) -> str:
    octets = messages.encrypted(SEALED, fields=fields)
    return check(direction, Envelope(ALICE, (BOB,)), octets).reason


def refused(*given: tuple[str, str]) -> str:
    return Header((name.encode(), value.encode()) for name, value in given).refused


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("written", ["{}", "{} ", "{}\t"])
def test_what_is_there_once_is_there_once(name: str, written: str) -> None:
    value = {"Date": "Sat, 22 Nov 2025 18:00:00 +0000", "Message-ID": "<x@b.example>"}.get(name, f"<{ALICE}>")
    for again in (name, name.upper(), name.lower()):
        assert refused((name, value), (written.format(again), value)) == "header-twice"
    assert refused((name, value)) == ""


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("name", ["Subject", "To", "Date", "Message-ID"])
def test_a_second_one_is_refused_both_ways(name: str, direction: Direction) -> None:
    assert reason([(name, "<x@b.example>")], direction) == "header-twice"


@pytest.mark.parametrize(
    "name", ["Received", "Resent-To", "Comments", "X-Hello", "Autocrypt", "DKIM-Signature"]
)
def test_others_may_be_there_again(name: str) -> None:
    assert refused(*[(name, "x")] * 20) == ""


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("Subject", 2048),
        ("Comments", 2048),
        ("Keywords", 2048),
        ("List-Id", 2048),
        ("Organization", 2048),
        ("Thread-Topic", 2048),
        ("Date", 256),
        ("Message-ID", 998),
        ("In-Reply-To", 4096),
        ("References", 16384),
        ("Autocrypt", 16384),
        ("ARC-Seal", 16384),
        ("DKIM-Signature", 16384),
        ("X-MS-Exchange-AntiSpam-MessageData-0", 16384),
        ("X-Microsoft-Antispam-Message-Info", 16384),
        ("X-Spam-Report", 8192),
        ("Received", 8192),
        ("X-Anything", 8192),
    ],
)
def test_how_long_a_field_may_be(name: str, most: int) -> None:
    assert refused((name, "x" * most)) == ""
    assert refused((name, "x" * (most + 1))) == "header-field"
    assert refused((name, "x\r\n " * (most // 4 + 1))) == "header-field"


def test_how_much_all_fields_together_may_be() -> None:
    assert refused(*[("X-A", "y" * 8000)] * 8) == ""
    assert refused(*[("X-A", "y" * 8000)] * 9) == "header-size"
    # What is in the names counts, too, and how many there are.
    assert refused(*[("x" * 99, "y")] * 400) == ""
    assert refused(*[("X", "")] * 401) == "header-size"
    assert reason([("X-A", "Meet me at nine. " * 450)] * 30) == "header-size"
    # What has a bound of its own has it once.
    assert (
        refused(("Autocrypt", "x" * 16_000), ("References", "x" * 16_000), *[("X-A", "y" * 8000)] * 8) == ""
    )
    assert refused(*[("Autocrypt", "x" * 16_000)] * 6) == "header-size"


@pytest.mark.parametrize("name", ["", "x" * 101, "X Y", "X\x7f", "Ä", "Meet me at nine"])
def test_a_name_is_a_name(name: str) -> None:
    assert refused((name, "x")) == "header-name"


@pytest.mark.parametrize("name", ["From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-To"])
def test_a_display_name_is_a_name(name: str) -> None:
    assert refused((name, f'"{"x" * 630}" <a@b.example>')) == ""
    assert refused((name, f'"{"x" * 650}" <a@b.example>')) == "header-display-name"
    assert refused((name, f"a@b.example, {'x' * 650} <c@b.example>")) == "header-display-name"
    assert refused((name, f"{'x' * 650}: a@b.example, c@b.example;")) == "header-display-name"
    assert refused((name, f"a@b.example ({'x' * 650})")) == "header-display-name"
    assert refused((name, f"<{'meet me ' * 90}>")) == "header-display-name"
    assert refused((name, f"<{'meet-me-' * 90}@b.example>")) == "header-display-name"
    assert refused((name, f"<a@b.example {'x' * 650}>")) == "header-display-name"
    assert refused((name, f"<a@b.example{' x' * 330}")) == "header-display-name"
    assert refused((name, f'"{"x" * 600}" <a@b.example>, {"x" * 60} <c@b.example>')) == ""
    assert refused((name, f"a@b.example, {'x' * 600} <c@b.example>, {'x' * 60}:d@b.example;")) == ""


@pytest.mark.parametrize(
    "written",
    [
        '"{0}" <a{1}@b.example>',
        "<{0}>",
        "<{0}>,",
        "{0}<>",
        "{0}<a@b.example>",
        "{0},",
        "{0}:;",
        "<{0}",
        "{0}>",
    ],
)
def test_no_text_is_carried_in_display_names(written: str) -> None:
    text = " ".join(written.format("meet me at nine " * 15, n) for n in range(300))
    assert refused(("To", text)) == "header-display-name"


def _encoded(name: str, encoding: int) -> str:
    charset = Charset("utf-8")
    charset.header_encoding = encoding
    return EncodedHeader(name, charset, maxlinelen=75).encode(linesep="\r\n")


@pytest.mark.parametrize("field", ["From", "To", "Reply-To"])
@pytest.mark.parametrize(("letter", "octets"), [("\u0e2a", 560), ("\u0418", 360), ("\u91ce", 560)])
def test_names_in_any_script_pass(field: str, letter: str, octets: int) -> None:
    name = _encoded(letter * 50, QP)
    assert len(name) >= octets
    assert refused((field, f"{name} <a@b.example>")) == ""


def test_names_of_hundreds_in_cyrillic_pass() -> None:
    name = _encoded("\u0418" * 22, BASE64)
    to = ",\r\n ".join(f"{name} <u{number:03}@chatmail.example>" for number in range(550))
    assert len(name) * 550 > 38_000
    assert len(to) < 60_000
    assert refused(("To", to)) == ""


@pytest.mark.parametrize("written", ["<{0}>", "<{0}>, ", "{0}<>", "<>{0}"])
def test_words_between_brackets_are_names(written: str) -> None:
    words = ("meet", "me", "at", "nine") * 3500
    assert refused(("To", "".join(map(written.format, words)))) == "header-display-name"


@pytest.mark.parametrize(
    "written",
    ["u{0:04}@{0:060}.example", "<u{0:04}@{0:040}.example>", '"A Person {0}" <u{0:04}@{0:040}.example>'],
)
def test_a_thousand_recipients_pass(written: str) -> None:
    to = ",\r\n ".join(written.format(n) for n in range(1000))
    assert 48_000 < len(to) < 85_000
    assert refused(("To", to), ("Cc", "<a@b.example>"), ("Subject", "...")) == ""
    assert reason([("Cc", to)]) == "encrypted"


def test_to_and_cc_have_a_bound_together() -> None:
    addresses = ", ".join(f"<u{n:04}@{'x' * 50}.example>" for n in range(1100))
    assert 70_000 < len(addresses) < 102_400
    assert refused(("To", addresses)) == ""
    assert refused(("To", addresses), ("Cc", addresses)) == "header-size"
    assert refused(("To", addresses + ", " + addresses)) == "header-field"


def _exchange_twice() -> list[tuple[str, str]]:
    """As a message has it that crossed Exchange Online twice, a list and a filter: real names and sizes."""

    def opaque(size: int) -> str:
        return "\r\n ".join(f"=?utf-8?B?{'x' * 60}?=" for _ in range(size // 78))

    fields = [("Received", "from a.example (192.0.2.7) by b.example\r\n " + "x" * 300)] * 30
    for hop in (1, 2, 3):
        fields += [
            ("ARC-Seal", f"i={hop}; a=rsa-sha256; s=s; d=c.example; cv=pass;\r\n b=" + "x" * 344),
            ("ARC-Message-Signature", f"i={hop}; a=rsa-sha256; h=From:Date;\r\n bh=x; b=" + "x" * 700),
            (
                "ARC-Authentication-Results",
                f"i={hop}; mx.c.example 1; spf=pass (sender ip is 192.0.2.7)" + " x" * 200,
            ),
        ]
    fields += [("DKIM-Signature", "v=1; a=rsa-sha256; d=c.example; s=s; h=From; b=" + "x" * 900)] * 4
    fields += [
        ("X-Microsoft-Antispam-Message-Info-Original", opaque(8200)),
        ("X-Microsoft-Antispam-Message-Info", opaque(8200)),
        ("X-MS-Exchange-AntiSpam-MessageData-0", opaque(5000)),
        ("X-MS-Exchange-AntiSpam-ExternalHop-MessageData-0", "x" * 2800),
        ("X-MS-Exchange-CrossTenant-OriginalAttributedTenantConnectingIp", "TenantId=x;Ip=[192.0.2.7]"),
        ("X-Spamd-Result", "default: False [-7.16 / 15.00];\r\n\t" + "A_RULE(0.00)[];\r\n\t" * 120),
        ("List-Unsubscribe", "<https://c.example/x>,\r\n <mailto:x@c.example>"),
        ("Autocrypt", f"addr={ALICE}; keydata=\r\n " + "\r\n ".join(["x" * 76] * 130)),
        ("References", "\r\n ".join(f"<{n:050}@c.example>" for n in range(60))),
    ]
    return fields + [(f"X-MS-Exchange-Field-{n}", "x" * 60) for n in range(40)]


def test_what_exchange_lists_and_filters_add_passes() -> None:
    fields = _exchange_twice()
    assert sum(len(name) + len(value) for name, value in fields) > 60_000
    assert reason(fields) == "encrypted"


def test_the_first_fault_is_the_one_that_is_said() -> None:
    assert refused(("Subject", "x"), ("Subject", "x"), ("X", "y" * 9000)) == "header-twice"
    assert refused(("X", "y" * 9000), ("Subject", "x"), ("Subject", "x")) == "header-field"


def test_what_is_kept_of_a_header_is_bounded() -> None:
    header = Header(
        [(b"Subject", b"x" * 100_000), (b"X-Other", b"y" * 100_000), *[(b"To", b"z" * 90_000)] * 9]
    )
    assert sum(len(value) for _, value in header.fields) < 20_000
    assert header.octets == 2 * 100_000 + 9 * 90_000 + len("SubjectX-Other") + 9 * len("To") + 11 * 4
