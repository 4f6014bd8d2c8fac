"""The `POST /mxdeliv` format as values: header fields, and SMTP replies as HTTP answers.

Used by both ends: `receive` speaks it, `relay` sends it; what a peer's answer means is in `peer_answer`.
Pure: no sockets, no files, no clock. The body of a request is in `lines`. There is no standard for this wire:
it is what deployed chatmail servers (madmail, filtermail) speak, plus JSON for peers that ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.reply import Reply

PATH = "/mxdeliv"
MAIL_FROM = "X-Mail-From"
MAIL_TO = "X-Mail-To"
ACCEPT = "application/json, text/plain"

# A thousand recipients of the longest addresses, with a reply of ordinary length each, come to half of this.
MAX_ANSWER_SIZE = 1 << 20
MAX_REPLY_TEXT = 500
RETRY_AFTER_SECONDS = 60

# RFC 1034, 3.1: a name is the same with a dot at its end.
_LAST_DOT = re.compile(r"\.(>?)\Z")


class MalformedRequestError(ValueError):
    """A header field of a request can't be understood; the message says which, and holds nothing of it."""


class MalformedRecipientError(MalformedRequestError):
    """A recipient is no address: what SMTP answers `501 5.1.3` to."""


@dataclass(frozen=True, slots=True)
class RecipientReply:
    """One SMTP answer for one recipient: `code` (RFC 5321), `status` (RFC 3463), `text` in one line."""

    address: str
    code: int
    status: str
    text: str

    @property
    def reply(self) -> Reply:
        """The reply without the recipient."""
        return Reply(self.code, self.status, self.text)

    @property
    def line(self) -> str:
        """The reply line, e.g. `550 5.1.1 User unknown`."""
        return self.reply.line

    @property
    def accepted(self) -> bool:
        """2yz."""
        return self.code // 100 == 2

    @property
    def temporary(self) -> bool:
        """4yz."""
        return self.code // 100 == 4


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP response: `headers` besides Content-Type, `body` in octets."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    content_type: str = "text/plain; charset=us-ascii"


# --- Header fields ---


def mail_from_header(sender: str) -> tuple[str, str]:
    """Name and value of the field that carries a canonical sender; the null sender is an empty value."""
    return MAIL_FROM, sender


def mail_to_headers(recipients: Sequence[str]) -> list[tuple[str, str]]:
    """Name and value of the fields that carry canonical recipients: one each, as every peer can read them."""
    return [(MAIL_TO, recipient) for recipient in recipients]


def parse_sender(value: str | None) -> str:
    """Canonical sender of `X-Mail-From`; `""` is the null sender. Raises `MalformedRequestError`."""
    bare = (value or "").strip(" \t")
    if bare in ("", "<>"):
        return ""
    try:
        return _address(bare)
    except MalformedAddressError as error:
        raise MalformedRequestError(f"{MAIL_FROM}: {error}") from None


def parse_recipients(value: str | None) -> tuple[str, ...]:
    """Canonical recipients of `X-Mail-To`, each once, in order; repeated fields come joined by commas.

    Raises `MalformedRequestError` if there is none, `MalformedRecipientError` if one of them is malformed.
    """
    # RFC 9110, 5.6.1.2: empty elements of a list are to be ignored.
    elements = [element for part in (value or "").split(",") if (element := part.strip(" \t"))]
    if not elements:
        raise MalformedRequestError(f"{MAIL_TO}: names no recipient")
    try:
        return tuple(dict.fromkeys(_address(_LAST_DOT.sub(r"\1", element)) for element in elements))
    except MalformedAddressError as error:
        raise MalformedRecipientError(f"{MAIL_TO}: {error}") from None


def _address(text: str) -> str:
    # Fields come as Latin-1 (PEP 3333), whatever they were: an IDN in UTF-8 would be another domain.
    if not text.isascii():
        raise MalformedAddressError("not ASCII: domains are written as in DNS")
    return address.parse(text)


def wants_json(accept: str | None) -> bool:
    """Whether an `Accept` field asks for JSON by name; `*/*` and `application/*` are not asking."""
    for media_range in (accept or "").lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        refused = any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
        if name == "application/json" and not refused:
            return True
    return False


# --- Answering: SMTP replies to HTTP ---

# The HTTP status of a permanent refusal, by its enhanced status. 404 is left out on purpose: any web server
# says that, and peers then take us for one.
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
    """The HTTP answer that tells a peer these SMTP replies (at least one).

    A peer that didn't ask for JSON gets 200 if some recipients are accepted and some refused: the caller has
    the refused ones bounced, or answers `UNREPORTABLE`. JSON never comes with a status that isn't 2xx: one
    refusal for all is the status and the reply line, and refusals that differ are a 207 (200 would say that
    mail is on disk).
    """
    accepted = [reply for reply in replies if reply.accepted]
    uniform = len({reply.line for reply in replies}) == 1
    if wants_json and (accepted or not uniform):
        return HttpAnswer(200 if accepted else 207, (), encode_json(replies), "application/json")
    if accepted:
        return plain(200, accepted[0])
    temporary = next((reply for reply in replies if reply.temporary), None)
    if temporary is not None:
        return plain(503, temporary)
    statuses = {permanent_status(reply) for reply in replies}
    return plain(statuses.pop() if len(statuses) == 1 else 400, replies[0])


def encode_json(replies: Sequence[RecipientReply]) -> bytes:
    """The JSON body: `{"recipients": [{"address", "code", "status", "text"}, …]}`."""
    rows = [_JsonReply(reply.address, reply.code, reply.status, reply.text) for reply in replies]
    return msgspec.json.encode(_JsonAnswer(rows))


def permanent_status(reply: RecipientReply) -> int:
    """The HTTP status of a permanent refusal."""
    if reply.code == codes.ENCRYPTION_NEEDED.code or reply.status.startswith("5.7."):
        return _POLICY
    return _PERMANENT.get(reply.status, _OTHER)


def plain(status: int, reply: RecipientReply) -> HttpAnswer:
    """An HTTP answer whose first body line is one reply, with `Retry-After` where it has to be."""
    headers = (("Retry-After", str(RETRY_AFTER_SECONDS)),) if status == 503 else ()
    return HttpAnswer(status, headers, reply.line.encode("ascii", "replace") + b"\r\n")


# RFC 9110, 15.5.7: the answer exists only in a form that the peer did not ask for. After a 4xx all known
# peers go on by SMTP, where each recipient has its own reply. The body is no SMTP reply: that could be taken
# for final.
UNREPORTABLE = HttpAnswer(
    406, (), b"Recipients have different answers: ask with Accept: application/json, or deliver by SMTP\r\n"
)


def decode_json(body: bytes, recipients: Sequence[str]) -> tuple[RecipientReply, ...]:
    """One reply for each of `recipients` (canonical), or none if this is not our JSON.

    A recipient that the JSON does not name gets `codes.PEER_SILENT`, which is temporary.
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
        found.setdefault(name, RecipientReply(name, row.code, row.status, text))
    if not any(recipient in found for recipient in recipients):
        return ()
    silent = codes.PEER_SILENT
    return tuple(
        found.get(one) or RecipientReply(one, silent.code, silent.enhanced, silent.text) for one in recipients
    )


def one_line(raw: bytes) -> str:
    """Reply text from a stranger in one line of printable ASCII, cut at `MAX_REPLY_TEXT`."""
    text = raw.decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?")
    return "".join(c if c.isprintable() else " " for c in text[:MAX_REPLY_TEXT]).strip()
