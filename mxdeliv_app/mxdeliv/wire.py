"""The wire format of `POST /mxdeliv`: header fields, and SMTP replies as HTTP answers (docs/wire.md).

Used by the receiver (`receive`) and the sender (`relay`). `peer_answer` interprets answers, `dot_stuffing`
has the body of a request. Pure: no sockets, files or clock. There is no standard: this is what deployed
chatmail servers (madmail, filtermail) use, plus JSON for peers that ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.verdict import Reply

PATH = "/mxdeliv"
MAIL_FROM = "X-Mail-From"
MAIL_TO = "X-Mail-To"
ACCEPT = "application/json, text/plain"

# Octets. Half of this holds replies of ordinary length for a thousand recipients with the longest addresses.
MAX_ANSWER_SIZE = 1 << 20
MAX_REPLY_TEXT = 500
RETRY_AFTER_SECONDS = 60

# RFC 1034, 3.1: a trailing dot does not change a domain name.
_LAST_DOT = re.compile(r"\.(>?)\Z")


class MalformedRequestError(ValueError):
    """A header field of a request is malformed. The message names the field, not its value."""


class MalformedRecipientError(MalformedRequestError):
    """A recipient is not a valid address; SMTP would reply `501 5.1.3`."""


@dataclass(frozen=True, slots=True)
class RecipientReply:
    """The reply for one recipient, a canonical address. On the wire it has an enhanced status code."""

    address: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP response: `headers` besides Content-Type, `body` in octets."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    content_type: str = "text/plain; charset=us-ascii"


# --- Header fields ---


def mail_from_header(sender: str) -> tuple[str, str]:
    """Name and value of the header field for a canonical sender; empty for the null sender."""
    return MAIL_FROM, sender


def mail_to_headers(recipients: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values of the header fields for canonical recipients: one field each, as all peers accept."""
    return [(MAIL_TO, recipient) for recipient in recipients]


def parse_sender(value: str | None) -> str:
    """The canonical sender in `X-Mail-From`; `""` for the null sender. Raises `MalformedRequestError`."""
    bare = (value or "").strip(" \t")
    if bare in ("", "<>"):
        return ""
    try:
        return _address(bare)
    except MalformedAddressError as error:
        raise MalformedRequestError(f"{MAIL_FROM}: {error}") from None


def parse_recipients(value: str | None) -> tuple[str, ...]:
    """The canonical recipients in `X-Mail-To`, in order, without duplicates; fields joined by commas.

    Raises `MalformedRequestError` if there is none, `MalformedRecipientError` if one is malformed.
    """
    # RFC 9110, 5.6.1.2: recipients must ignore empty list elements.
    elements = [element for part in (value or "").split(",") if (element := part.strip(" \t"))]
    if not elements:
        raise MalformedRequestError(f"{MAIL_TO}: names no recipient")
    try:
        return tuple(dict.fromkeys(_address(_LAST_DOT.sub(r"\1", element)) for element in elements))
    except MalformedAddressError as error:
        raise MalformedRecipientError(f"{MAIL_TO}: {error}") from None


def _address(text: str) -> str:
    # WSGI decodes header fields as Latin-1 (PEP 3333), so an IDN in UTF-8 would become another domain.
    if not text.isascii():
        raise MalformedAddressError("not ASCII: domains are written as in DNS")
    return address.parse(text)


def wants_json(accept: str | None) -> bool:
    """Whether an `Accept` field names `application/json`; `*/*` and `application/*` don't count."""
    for media_range in (accept or "").lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        refused = any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
        if name == "application/json" and not refused:
            return True
    return False


# --- Answering: SMTP replies to HTTP ---

# HTTP statuses of permanent refusals, by enhanced status code. Not 404, which any web server sends: peers
# would not recognise a chatmail server.
_PERMANENT = {"5.1.1": 422, "5.2.2": 507, "5.3.4": 413}
_POLICY = 403  # 523, and 5.7.x: encryption needed, DKIM, policy, blocklist
_OTHER = 400


class _JsonReply(msgspec.Struct, frozen=True):
    address: Annotated[str, msgspec.Meta(max_length=400)]
    code: Annotated[int, msgspec.Meta(ge=200, le=599)]
    status: Annotated[str, msgspec.Meta(pattern=r"^[245]\.\d{1,3}\.\d{1,3}$")]
    text: str = ""


class _JsonAnswer(msgspec.Struct, frozen=True):
    recipients: list[_JsonReply]


def http_answer(replies: Sequence[RecipientReply], wants_json: bool) -> HttpAnswer:
    """The HTTP answer for SMTP replies (at least one).

    Without `wants_json` it is 200 if only some recipients are accepted: the caller bounces to the refused
    ones, or answers `UNREPORTABLE` instead. JSON is used only with 2xx: the same refusal for all is an error
    status with the reply line; different refusals are 207 (200 would mean that a message is on disk).
    """
    said = [one.reply for one in replies]
    accepted = [reply for reply in said if reply.accepted]
    uniform = len({reply.line for reply in said}) == 1
    if wants_json and (accepted or not uniform):
        return HttpAnswer(200 if accepted else 207, (), encode_json(replies), "application/json")
    if accepted:
        return plain(200, accepted[0])
    temporary = next((reply for reply in said if reply.temporary), None)
    if temporary is not None:
        return plain(503, temporary)
    statuses = {permanent_status(reply) for reply in said}
    return plain(statuses.pop() if len(statuses) == 1 else 400, said[0])


def encode_json(replies: Sequence[RecipientReply]) -> bytes:
    """The JSON body: `{"recipients": [{"address", "code", "status", "text"}, …]}`."""
    rows = [_JsonReply(one.address, one.reply.code, one.reply.enhanced, one.reply.text) for one in replies]
    return msgspec.json.encode(_JsonAnswer(rows))


def permanent_status(reply: Reply) -> int:
    """The HTTP status of a permanent refusal."""
    if reply.code == codes.ENCRYPTION_NEEDED.code or reply.enhanced.startswith("5.7."):
        return _POLICY
    return _PERMANENT.get(reply.enhanced, _OTHER)


def plain(status: int, reply: Reply) -> HttpAnswer:
    """An HTTP answer whose body is one reply line; with `Retry-After` if the status is 503."""
    headers = (("Retry-After", str(RETRY_AFTER_SECONDS)),) if status == 503 else ()
    return HttpAnswer(status, headers, reply.line.encode("ascii", "replace") + b"\r\n")


# 406 (RFC 9110, 15.5.7): the answer exists only in a form that the peer did not ask for. After a 4xx all
# known peers use SMTP, which has a reply for each recipient. The body must not be an SMTP reply, which could
# be taken as final.
UNREPORTABLE = HttpAnswer(
    406, (), b"Recipients have different answers: ask with Accept: application/json, or deliver by SMTP\r\n"
)


def decode_json(body: bytes, recipients: Sequence[str]) -> tuple[RecipientReply, ...]:
    """Parses JSON into one reply for each of `recipients` (canonical); returns none if it is malformed.

    A recipient that is missing in the JSON gets the temporary `codes.PEER_SILENT`.
    """
    try:
        rows = msgspec.json.decode(body, type=_JsonAnswer).recipients
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    found: dict[str, RecipientReply] = {}
    for row in rows:
        if str(row.code)[0] != row.status[0]:
            return ()
        try:
            name = address.parse(row.address)
        except MalformedAddressError:
            return ()
        text = one_line(row.text.encode("ascii", "replace"))
        found.setdefault(name, RecipientReply(name, Reply(row.code, row.status, text)))
    if not any(recipient in found for recipient in recipients):
        return ()
    silent = codes.PEER_SILENT.said
    return tuple(found.get(one) or RecipientReply(one, silent) for one in recipients)


def one_line(raw: bytes) -> str:
    """A peer's reply text as one line of printable ASCII, truncated to `MAX_REPLY_TEXT`."""
    text = raw.decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?")[:MAX_REPLY_TEXT]
    if not text.isprintable():  # rarely
        text = "".join(c if c.isprintable() else " " for c in text)
    return text.strip()
