"""Identifies a host by its answers (docs/wire.md, 1 and 2). Pure."""

from __future__ import annotations

from chatmail_milter import codes
from mxdeliv_app.mxdeliv import peer_answer
from mxdeliv_app.mxdeliv.peer_answer import Proof

OURS = "this relay software"
MADMAIL = "madmail"
CLASSIC = "classic chatmail relay (filtermail)"
CHATMAIL = "chatmail server"
CATCH_ALL = "web server that says yes to every POST"
WEB = "web server without /mxdeliv"
MAIL = "mail server"


def of_web_server(status: int, content_type: str, body: bytes) -> str:
    """Identifies a host by its answer to a POST without recipients and message."""
    proof = peer_answer.proof(status, content_type, body)
    if proof is Proof.DISPROVEN:
        return CATCH_ALL
    if proof is Proof.OPEN:
        return WEB
    text = body.decode("ascii", "replace")
    if text.startswith(codes.BAD_SYNTAX.reply):
        return OURS
    if text.strip() == "bad request":
        return MADMAIL
    # filtermail looks at the message first, and an empty one has no From.
    if text.startswith(("500 Invalid FROM", "523 Encryption Needed")):
        return CLASSIC
    return CHATMAIL


def of_mail_server(banner: str) -> str:
    """Identifies a mail server by its greeting (RFC 5321, 4.2), where some programs name themselves."""
    words = banner.lower()
    return next((f"{MAIL} ({name})" for name in _NAMES if name.lower() in words), MAIL)


_NAMES = ("Postfix", "Exim", "Sendmail", "OpenSMTPD", "Microsoft", "Haraka", "maddy", "madmail", "Stalwart")
