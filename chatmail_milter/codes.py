"""Every SMTP reply that our own programs give. No reply is written anywhere else.

Deployed clients and peers look for some texts, to the letter. Enhanced codes: RFC 3463 and its registry.
"""

from __future__ import annotations

import re

from chatmail_milter.verdict import Action, Verdict

_STATUS = re.compile(r"[45]\.\d{1,3}\.\d{1,3}")


def _reject(code: int, enhanced: str, text: str, reason: str) -> Verdict:
    return Verdict(Action.REJECT, code, enhanced, text, reason)


def _tempfail(code: int, enhanced: str, text: str, reason: str) -> Verdict:
    return Verdict(Action.TEMPFAIL, code, enhanced, text, reason)


PASS = Verdict(Action.PASS, 250, "2.0.0", "OK", "pass")

# The gate. 523 is in no RFC; it is what every chatmail client knows.
ENCRYPTION_NEEDED = _reject(523, "5.7.1", "Encryption Needed: Invalid Unencrypted Mail", "cleartext")

# Inbound: DKIM (RFC 6376, RFC 8601). 4.7.5 is "cryptographic failure", temporary.
NO_DKIM = _reject(554, "5.7.1", "No DKIM signature found", "dkim-none")
INVALID_DKIM = _reject(554, "5.7.1", "No valid DKIM signature found", "dkim-invalid")
DKIM_DNS = _tempfail(451, "4.7.5", "DKIM key lookup failed, try again later", "dkim-dns")
KEY_AWAITED = _tempfail(451, "4.7.5", "DKIM key not found, try again later", "dkim-key-awaited")
ORIGIN_DNS = _tempfail(451, "4.7.5", "Sender's domain lookup failed, try again later", "origin-dns")
# By HTTPS some recipients were refused, and no bounce that says which can reach the author
# (mxdeliv_app/mxdeliv/inject.py). RFC 3463: X.5.3 "should normally result in the segmentation of the message
# into two".
UNREPORTABLE_REFUSAL = _tempfail(
    452, "4.5.3", "Some recipients are refused, and no bounce could tell", "unreportable"
)
IP_LITERAL_MISMATCH = _reject(554, "5.7.1", "Sender's address literal is not your address", "ip-literal")

# A bug of ours is never an accept and never a permanent refusal.
OUR_FAULT = _tempfail(451, "4.3.0", "Internal error, try again later", "our-fault")


def invalid_from(header_from: str, mail_from: str) -> Verdict:
    """The From header of a submitted message is not its envelope sender."""
    return _reject(500, "5.7.1", f"Invalid FROM <{header_from}> for <{mail_from}>", "from-mismatch")


# Postfix says the first two as well, where it compares sender and login (reject_sender_login_mismatch), and
# knows its own senders (postfix/our_senders). The third is for a peer's message to two kinds of domains: its
# queue sends the rest in another transaction (RFC 5321, 4.5.3.1.10).
NOT_OWNED = _reject(553, "5.7.1", "Sender address rejected: not owned by user", "sender-login")
OWN_SENDER = _reject(553, "5.7.1", "Senders of this domain log in and submit", "own-sender")
OTHER_TRANSACTION = _tempfail(
    452, "4.5.3", "Recipients of this domain take a transaction of their own", "mixed-domains"
)
# Mail that concerns no chat domain (`rules.domains`).
OTHER_DOMAIN = PASS.because("other-domain")


# What the operator decided (`rules.policy`): to peers, to our users, and to both.
BLOCKED_SENDER = _reject(554, "5.7.1", "Sender or network is blocked here", "blocked")
BLOCKED_USER = _reject(550, "5.7.1", "Your address or network is blocked, ask the operator", "blocked")
SUSPENDED = _reject(550, "5.7.1", "Your account is suspended, ask the operator", "suspended")
BLOCKED_RECIPIENT = _reject(554, "5.7.1", "Recipient domain is blocked here", "blocked")
FEDERATION_CLOSED = _reject(554, "5.7.1", "This server exchanges no mail with that domain", "federation")
# Postfix ends the session after a 421 (RFC 5321, 3.8), and the app logs in anew, with the password that
# counts now. Not final, for nothing is wrong with the message. RFC 3463: X.7.0 is "other security status".
LOGIN_OVER = _tempfail(421, "4.7.0", "Your account or its password has changed, log in again", "login-over")
LOGIN_OLD = _tempfail(421, "4.7.0", "Your session has lasted too long, log in again", "login-old")
STORE_AWAY = _tempfail(451, "4.3.0", "Policy can't be read, try again later", "store-away")

# A recipient of ours without an account, as Dovecot's quota-status says it (dovecot.conf). RFC 3463: X.1.1 is
# "bad destination mailbox address".
USER_UNKNOWN = _reject(550, "5.1.1", "User unknown", "user-unknown")
# To a peer that tried too many. RFC 3463: X.7.1 is "delivery not authorized". The peer's queue tries again.
TOO_MANY_UNKNOWN = _tempfail(
    450, "4.7.1", "Too many unknown recipients from your network, try again later", "too-many-unknown"
)


# The reply code that Postfix gives with an enhanced code, where that is not x50 (master.cf, dovecot.conf).
_RECIPIENT_CODES = {"5.2.2": 552, "5.2.3": 552, "5.7.1": 554, "4.3.0": 451, "4.3.5": 451}


def recipient_refused(status: str, recipient: str, text: str) -> Verdict:
    """The reply to a refused recipient, once more, for a peer that hears only the reply to the message.

    `status` (RFC 3463), `recipient` and `text` as Postfix tells them; it does not tell the reply code.
    """
    if not _STATUS.fullmatch(status):
        status = "5.1.0"  # RFC 3463, 3.2: "other address status"
    make, code = (_tempfail, 450) if status[0] == "4" else (_reject, 550)
    words = f"<{recipient}>: {text}"
    return make(_RECIPIENT_CODES.get(status, code), status, words, "recipient-refused")


def refused_lately(code: int, status: str, words: str) -> Verdict:
    """What a peer said of a recipient not long ago, to the next message to it.

    Of codes only those that refuse a mailbox or a transaction (RFC 5321, 4.2.3) are repeated: Postfix takes
    521 for an order to hang up (access(5)).
    """
    known = code if code in (550, 551, 552, 553, 554) else 550
    return _reject(known, status, words, "refused-lately")


def too_much_mail(sender: str) -> Verdict:
    """The sender's rate. Clients look for this line with its colon, so it stands where the code ends."""
    return _tempfail(450, "4.7.1:", f"Too much mail from <{sender}>", "rate")


# Relay out: where mail for a domain can't go. RFC 7505 (null MX), RFC 7504 and RFC 3463, 5.1.2.
NULL_MX = _reject(556, "5.1.10", "Recipient domain does not accept mail (null MX)", "null-mx")
NO_SUCH_DOMAIN = _reject(512, "5.1.2", "Recipient domain does not exist", "nxdomain")
DNS_TROUBLE = _tempfail(451, "4.4.3", "Recipient domain lookup failed, try again later", "dns")
NO_ROAD = _tempfail(451, "4.4.1", "Peer could not be reached over HTTPS, try again later", "no-https")


def no_road_but(words: str) -> Verdict:
    """No road took it; `words` say why SMTP didn't, empty where that isn't known."""
    text = "Peer could be reached neither over HTTPS nor by SMTP"
    return _tempfail(451, "4.4.1", f"{text}: {words}" if words else f"{text}, try again later", "no-road")


BUSY = _tempfail(421, "4.3.2", "Too many deliveries under way, try again later", "busy")
# RFC 3463: X.4.5 is "mail system congestion".
BUSY_DOMAIN = _tempfail(
    421, "4.4.5", "Too many deliveries to this domain under way, try again later", "busy-domain"
)
# RFC 3463: X.4.4 is "unable to route". Ours to say: smtp(8) would hand such mail back to us for ever.
NO_HOST = _reject(550, "5.4.4", "Recipient domain has no mail host", "no-host")
# RFC 5321, 5.1: a mail host of the domain tries none that comes after itself. X.4.6 is "routing loop".
MAIL_LOOP = _reject(550, "5.4.6", "Mail for the recipient domain would come back to this server", "mail-loop")
# A stranger must not choose where in our network Postfix connects. A literal stays what it is; DNS may be put
# right, and where it is not the queue's lifetime ends it.
FORBIDDEN_ADDRESS = _reject(
    550, "5.1.2", "Recipient domain resolves to an address that is not public", "forbidden-address"
)
NO_PUBLIC_ADDRESS = _tempfail(
    451, "4.4.4", "Recipient domain has no address that is public, try again later", "no-public-address"
)
REINJECT_AWAY = _tempfail(
    451, "4.3.2", "Local mail system is not taking mail, try again later", "postfix-away"
)

# The relay's own ears: LMTP (RFC 2033) and SMTP (RFC 5321), spoken by Postfix alone.
BAD_SEQUENCE = _reject(503, "5.5.1", "Bad sequence of commands", "bad-sequence")
UNKNOWN_COMMAND = _reject(500, "5.5.2", "Command not recognized", "unknown-command")
BAD_SYNTAX = _reject(501, "5.5.4", "Syntax error in parameters", "bad-syntax")
BAD_PARAMETER = _reject(555, "5.5.4", "Unsupported parameter", "bad-parameter")
# Postfix's words for the same. RFC 5321, 4.1.2: 501 also for octets above 127, where SMTPUTF8 is not offered.
BAD_ADDRESS = _reject(501, "5.1.3", "Bad recipient address syntax", "bad-address")
TOO_LARGE = _reject(552, "5.3.4", "Message is larger than this system takes", "too-large")
TOO_MANY_RECIPIENTS = _tempfail(452, "4.5.3", "Too many recipients", "too-many-recipients")
ONE_DOMAIN = _tempfail(452, "4.5.3", "One recipient domain a transaction", "one-domain")
STOPPING = _tempfail(421, "4.3.2", "Service is stopping, try again later", "stopping")
IDLE = _tempfail(421, "4.4.2", "Idle for too long", "idle")

# The road by HTTPS, both ends.
PEER_SILENT = _tempfail(451, "4.5.0", "Peer's answer doesn't name this recipient", "peer-silent")
TOO_MANY_MESSAGES = _tempfail(450, "4.3.2", "Too many messages at once, try again later", "too-many-messages")
QUEUE_AWAY = _tempfail(451, "4.3.0", "Mail queue can't be reached, try again later", "queue-away")
BODY_CUT = _tempfail(451, "4.4.2", "Message was cut off on its way here", "body-cut")
