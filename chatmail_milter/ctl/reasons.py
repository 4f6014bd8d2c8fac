"""`chatmailctl reasons`: explains the reason words in tables, log lines and `trace`.

Reasons of the gate are in `gate.reasons`, each with its rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import click

from chatmail_milter.ctl.output import json_option, print_json, print_table
from chatmail_milter.gate import reasons as of_the_gate

# (where the word is said, what it means)
_OURS = "milter"
_OUT = "to peers"
_IN = "from peers"
WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        # Verdicts of the milter.
        "pass": (_OURS, "the message was accepted"),
        "cleartext": (_OURS, "the message is not encrypted; another reason word names the rule"),
        "blocked": (_OURS, "the blocklist names the address or domain: chatmailctl block list"),
        "blocked-network": (_OURS, "the blocklist names the network: chatmailctl block list"),
        "suspended": (_OURS, "the sender's account is suspended: chatmailctl account resume"),
        "federation": (_OURS, "no mail is exchanged with the domain: chatmailctl federation show"),
        "rate": (
            _OURS,
            "the user exceeded submission.rate_per_minute or recipients_per_minute and their bursts",
        ),
        "login-over": (_OURS, "the account or its password changed after the login; the app logs in again"),
        "login-old": (_OURS, "the session was older than a login may be; the app logs in again"),
        "unreportable": (
            _IN,
            "some recipients are refused, and no bounce could reach the author; the peer sends again by SMTP",
        ),
        "from-malformed": (_IN, "the From header names no author, or more than one"),
        "dkim-none": (_IN, "the author's domain did not sign the message: its operator has to set up DKIM"),
        "dkim-invalid": (_IN, "the author's domain has no valid DKIM signature on the message"),
        "dkim-dns": (_IN, "the lookup of the DKIM key failed; the peer tries again"),
        "dkim-key-awaited": (_IN, "the DKIM key is not published yet; the peer tries again"),
        "dkim-key-missing": (_IN, "the DKIM key is not published: its operator has to publish it"),
        "dkim-key-unusable": (_IN, "the published DKIM key is malformed, revoked or not unique"),
        "dkim-algorithm": (_IN, "the DKIM signature uses an insecure algorithm (RFC 8301)"),
        "dkim-length": (_IN, "the DKIM signature covers only a part of the body (l=)"),
        "dkim-fields": (_IN, "the DKIM signature does not cover fields that it must"),
        "origin-dns": (
            _IN,
            "the message is unsigned, and the lookup of its domain's hosts failed; the peer tries again",
        ),
        "ip-literal": (_IN, "the sender's domain is an IP literal other than the peer's address"),
        "our-fault": (_OURS, "a bug of our program, answered with 451: the journal has a traceback"),
        "sender-login": (_OURS, "the envelope sender is not the address of the login"),
        "own-sender": (_IN, "a peer used a sender of this relay, whose users must log in"),
        "mixed-domains": (
            _IN,
            "the message has recipients in chat domains and in others; the peer sends the others again",
        ),
        "other-domain": (_OURS, "the message concerns no chat domain, and was not judged"),
        "daemon-name": (_OURS, "Postfix's milter_macro_daemon_name is unknown: master.cf is not ours"),
        "store-away": (_OURS, "the store can't be read: chatmailctl doctor"),
        # Before the milter is asked.
        "user-unknown": (_IN, "there is no such account here"),
        "unknown-user": (_IN, "there is no such account here"),
        "too-many-unknown": (_IN, "the peer tried too many recipients without an account"),
        "mailbox-full": (_IN, "the mailbox is full: chatmailctl account quota"),
        "recipient-refused": (_IN, "Postfix refused the recipient, as the reply says"),
        "temporary": (_IN, "Postfix or Dovecot asked the peer to try again later"),
        "bad-address": (_IN, "the recipient's address is malformed"),
        "bad-syntax": (_IN, "the request or command is malformed"),
        "bad-parameter": (_IN, "the command has a parameter that is not supported"),
        "bad-sequence": (_IN, "the SMTP commands came in the wrong order"),
        "unknown-command": (_IN, "the SMTP command is unknown"),
        "too-large": (_IN, "the message is larger than mail.max_message_size, or a peer's a mebibyte larger"),
        "too-many-recipients": (_IN, "the message has more than mail.max_recipients recipients"),
        "too-many-messages": (_IN, "the network has too many messages in progress"),
        "body-cut": (_IN, "the peer disconnected before the end of the message"),
        "queue-away": (_IN, "Postfix could not be reached: chatmailctl doctor"),
        # Why a message to a peer is refused or waits.
        "refused-lately": (_OUT, "the peer refused this recipient within the last day: chatmailctl refusals"),
        "null-mx": (_OUT, "the domain takes no mail (RFC 7505)"),
        "nxdomain": (_OUT, "the domain does not exist"),
        "no-host": (_OUT, "the domain has no mail host"),
        "mail-loop": (_OUT, "the mail would come back to this host"),
        "forbidden-address": (_OUT, "the domain is, or resolves to, an address that is not public"),
        "no-public-address": (_OUT, "no address of the domain in DNS is public; Postfix tries again"),
        "no-https": (_OUT, "HTTPS failed, and the route allows only HTTPS"),
        "no-road": (_OUT, "both HTTPS and SMTP failed; Postfix tries again"),
        "busy": (_OUT, "too many deliveries were in progress; Postfix tries again"),
        "busy-domain": (_OUT, "too many deliveries to the domain were in progress; Postfix tries again"),
        "postfix-away": (_OUT, "Postfix did not take the message back for SMTP: chatmailctl doctor"),
        "one-domain": (_OUT, "an SMTP transaction may have recipients of one domain only"),
        "stopping": (_OUT, "mxdeliv-relay was being restarted"),
        "idle": (_OUT, "the connection was silent for too long"),
        "peer-silent": (_OUT, "the peer's answer did not name this recipient"),
        # How HTTPS to a peer went.
        "answered": (_OUT, "the peer answered for every recipient"),
        "connect": (_OUT, "the connection was refused, or there is no route"),
        "connect-timeout": (_OUT, "the connection took longer than relay.connect_timeout"),
        "tls": (_OUT, "TLS failed: see chatmailctl peers show for the certificate's fault"),
        "tls-timeout": (_OUT, "the TLS handshake took too long"),
        "timeout": (_OUT, "the answer took longer than relay.attempt_timeout"),
        "network": (_OUT, "the connection ended before the answer"),
        "protocol": (_OUT, "the answer was not HTTP"),
        "dns": (_OUT, "the domain or its host could not be looked up"),
        "store": (_OUT, "the store failed during the delivery"),
        "not-chatmail": (_OUT, "the host accepts everything: a web server, not a chatmail server"),
        "size": (_OUT, "the host refuses messages of this size by HTTPS, so SMTP is used"),
        "marked": (_OUT, "HTTPS failed and is suspended for now: chatmailctl endpoints forget"),
        "tried": (_OUT, "HTTPS failed last time, and one other message is testing it now"),
        "breaker": (_OUT, "several deliveries to the peer hang, so no more are tried"),
        "route": (_OUT, "a route forbids HTTPS: chatmailctl route list"),
        "sender": (_OUT, "the sender's address has a form that HTTPS does not take"),
        "no-canonical-address": (_OUT, "the recipient's address has a form that HTTPS does not take"),
        "handed-back": (_OUT, "SMTP failed, and smtp(8) gave the message back for HTTPS"),
    }
)
# Words that end in a number.
_NUMBERED = (
    (re.compile(r"http-(\d{3})\Z"), _OUT, "the peer answered with HTTP status {}"),
    (re.compile(r"refused-(\d{3})\Z"), "peers", "the recipients were refused with SMTP code {}"),
    (re.compile(r"smtp-(\d)yz\Z"), _OUT, "the peer's SMTP server refused with a code that begins with {}"),
)


def explain(word: str) -> tuple[str, str] | None:
    """Where a reason word is used, and what it means; None for an unknown word."""
    if word in WORDS:
        return WORDS[word]
    for pattern, where, text in _NUMBERED:
        if found := pattern.match(word):
            return where, text.format(found[1])
    try:
        return "gate", of_the_gate.rule(word)
    except (KeyError, ValueError):
        return None


@click.command()
@click.argument("word", required=False)
@json_option
def reasons(word: str | None, as_json: bool) -> None:
    """Explain the reason words in tables and log lines.

    WORD: explain only this word, such as dkim-none, http-502 or packets-truncated. Exit status 1 if it is
    unknown.
    """
    if word is None:
        found = {one: explained for one in [*WORDS, *of_the_gate.words()] if (explained := explain(one))}
        for shape, (_, where, text) in zip(("http-NNN", "refused-NNN", "smtp-Nyz"), _NUMBERED, strict=True):
            found[shape] = where, text.format("NNN" if "NNN" in shape else "N")
    else:
        one = explain(word)
        if one is None:
            raise click.ClickException("see `chatmailctl reasons`: there is no such word")
        found = {word: one}
    if as_json:
        print_json(
            [{"reason": name, "where": where, "meaning": text} for name, (where, text) in found.items()]
        )
        return
    print_table(
        ("Reason", "Where", "Meaning"),
        [(name, *explained) for name, explained in found.items()],
        "",
        whole=("Reason",),
    )
