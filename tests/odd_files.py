"""Files that are messages, nearly: what editors, mbox folders and hostile clients make of a good one.

Alice writes to Bob, as in `tests.messages`. Each is a name and the octets that a client would send.
"""

from __future__ import annotations

from tests import messages, packets

GOOD = messages.sealed(packets.pkesk() + packets.seipd())
HEADER, _, BODY = GOOD.partition(b"\r\n\r\n")
FIRST, _, OTHERS = HEADER.partition(b"\r\n")
TYPE = b"\r\nContent-Type: "


def _above(octets: bytes) -> bytes:
    return octets + GOOD


def _in_header(octets: bytes) -> bytes:
    return HEADER + b"\r\n" + octets + b"\r\n\r\n" + BODY


def _recipients(count: int) -> bytes:
    return b",\r\n ".join(b"someone%05d@peer.example" % number for number in range(count))


def _long_line(size: int) -> bytes:
    """A field in one line of so many octets, CRLF included."""
    return b"Chat-Version: " + b"1" * (size - 16)


ODD: dict[str, bytes] = {
    "as it is": GOOD,
    "LF": GOOD.replace(b"\r\n", b"\n"),
    "CR": GOOD.replace(b"\r\n", b"\r"),
    "CR CR LF": GOOD.replace(b"\r\n", b"\r\r\n"),
    "LF CR": GOOD.replace(b"\r\n", b"\n\r"),
    "LF in the header alone": HEADER.replace(b"\r\n", b"\n") + b"\n\n" + BODY,
    "no end of the last line": GOOD.rstrip(b"\r\n"),
    "a CR at the end": GOOD.rstrip(b"\r\n") + b"\r",
    "header alone": HEADER,
    "header and one line end": HEADER + b"\r\n",
    "header and the empty line": HEADER + b"\r\n\r\n",
    "half a field": FIRST + b"\r\nConte",
    "one empty line": b"\r\n",
    "one octet": b"x",
    "an mbox": _above(b"From alice@a.example Mon Mar  2 10:00:00 2026\r\n"),
    "an mbox with LF": _above(b"From alice@a.example Mon Mar  2 10:00:00 2026\r\n").replace(b"\r\n", b"\n"),
    "two mbox lines": _above(b"From a Mon\r\nFrom b Tue\r\n"),
    "a quoted mbox line": _above(b">>From a Mon\r\n"),
    "an mbox line that goes on": _above(b"From a Mon\r\n b\r\n"),
    "a long mbox line": _above(b"From " + b"x" * 5000 + b"\r\n"),
    "an mbox line in the header": _in_header(b"From alice Mon"),
    "a byte order mark": _above(b"\xef\xbb\xbf"),
    "UTF-16": GOOD.decode("latin-1").encode("utf-16"),
    "white space first": _above(b" "),
    "a blank line first": _above(b" \r\n"),
    "an empty line first": _above(b"\r\n"),
    "a text first": _above(b"Hello\r\n"),
    "a text in the header": _in_header(b"Hello"),
    "a text with a colon": _in_header(b"Hello Bob: how are you?"),
    "a colon first": _in_header(b": x"),
    "8-bit in a name": _in_header(b"X-\xc3\xa4: y"),
    "8-bit in a value": _in_header(b"Chat-Version: \xc3\xa4\xff"),
    "white space before a colon": GOOD.replace(TYPE, b"\r\nContent-Type \t : "),
    "a tab after a colon": GOOD.replace(TYPE, b"\r\nContent-Type:\t"),
    "nothing after a colon": GOOD.replace(TYPE, b"\r\nContent-Type:"),
    "much after a colon": GOOD.replace(TYPE, b"\r\nContent-Type:    "),
    "a fold after a colon": GOOD.replace(TYPE, b"\r\nContent-Type:\r\n "),
    "a blank fold": GOOD.replace(TYPE, b"\r\nContent-Type:\r\n \r\n\t"),
    "NULs in a name": GOOD.replace(b"Content-Type", b"Con\0tent-Type"),
    "NULs in a value": GOOD.replace(b"multipart/encrypted", b"multi\0part/encrypted"),
    "NULs in a boundary line": GOOD.replace(b"\r\n--", b"\r\n-\0-"),
    "NULs in the Base64": HEADER + b"\r\n\r\n" + BODY.replace(b"wV", b"w\0V"),
    "NULs alone in a line": _in_header(b"\0"),
    "a CR in a name": GOOD.replace(b"Content-Type", b"Content\r-Type"),
    "a CR in a value": GOOD.replace(b"multipart/encrypted;", b"multipart/encrypted;\r"),
    "a CR in a word": GOOD.replace(b"multipart/encrypted;", b"multipart/enc\rrypted;"),
    "a CR in a boundary line": GOOD.replace(b"\r\n--", b"\r\n-\r-"),
    "a CR before a boundary line": GOOD.replace(b"\r\n--", b"\r--"),
    "a CR in the Base64": HEADER + b"\r\n\r\n" + BODY.replace(b"wV", b"w\rV"),
    "a CR for the empty line": HEADER + b"\r\n\r" + BODY,
    "dots": HEADER + b"\r\n\r\n.\r\n..\r\n" + BODY,
    "a dot in the header": _in_header(b".Hello: x"),
    "a lone dot in the header": _in_header(b"."),
    "text after": GOOD + b"Hello\r\n",
    "two authors": _in_header(b"From: <eve@c.example>"),
    "two authors, first": _above(b"From: <eve@c.example>\r\n"),
    "two subjects": _in_header(b"Subject: Hello"),
    "two recipients' fields": _in_header(b"To: <eve@c.example>"),
    "two types": _in_header(b"Content-Type: text/plain"),
    "the type first": HEADER[HEADER.index(TYPE) + 2 :]
    + b"\r\n"
    + HEADER[: HEADER.index(TYPE)]
    + b"\r\n\r\n"
    + BODY,
    "the subject first": _above(b"Subject: Hello\r\n").replace(b"\r\nSubject: [...]", b""),
    "a field of no list first": _above(b"X-Mailer: x\r\n"),
    "fields that are dropped": _in_header(
        b"Return-Path: <a@b>\r\nBcc: <eve@c.example>\r\nContent-Length: 7\r\nReceived: from x\r\nX-Mailer: x"
    ),
    "results of a check": _in_header(b"Authentication-Results: mx; dkim=pass header.d=peer.lab"),
    "a long line": _in_header(_long_line(3000)),
    "a line of one piece": _in_header(_long_line(2048)),
    "a line of one piece and its CR": _in_header(_long_line(2049)),
    "a line of one piece and a CR": _in_header(_long_line(2049) + b"\r"),
    "a line of one piece and its end": _in_header(_long_line(2050)),
    "a line of two pieces": _in_header(_long_line(4096)),
    "a field of 59 kB": _in_header(b"Cc: " + _recipients(2000)),
    "a field of 90 kB": _in_header(b"Cc: " + _recipients(3000)),
    "a field of 90 kB in a line": _in_header(b"Cc: " + _recipients(3000).replace(b"\r\n", b"")),
    "a field of 90 kB in two lines": _in_header(
        b"Cc: "
        + _recipients(1000).replace(b"\r\n", b"")
        + b",\r\n "
        + _recipients(2000).replace(b"\r\n", b"")
    ),
    "a field of 90 kB, then a short line": _in_header(b"Cc: " + _recipients(3000) + b",\r\n <a@b>"),
    "a long armor": messages.sealed(packets.pkesk() + packets.seipd(size=100_000)),
    "plain text": messages.text(),
    "SecureJoin": messages.secure_join(),
}
