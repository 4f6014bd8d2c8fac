"""Types and defaults of all settings in `/etc/chatmail/chatmail.toml` (or `$CHATMAIL_CONFIG`).

The documented example is generated from these types (`chatmailctl config example`): a description here is the
documentation there. The types of values are in `values.py`; `loading.py` reads the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from chatmail_milter.config.values import (
    Duration,
    HostPort,
    MailDomain,
    MetadataEntries,
    Nameserver,
    NetworkList,
    Size,
    Text,
    Url,
)


def _doc(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: immutable, keyword-only, without unknown keys."""


# What a message may gain on the way: trace and signature fields, and in Postfix's queue file its recipients.
_ADDED_ON_THE_WAY = 1 << 20


class MailSettings(Section, frozen=True):
    """This relay."""

    domain: Annotated[MailDomain, _doc("The mail domain: the part after the @ of every account here.")]
    hostname: Annotated[
        MailDomain | None, _doc("Name of this host, as in the MX record. By default the mail domain.")
    ] = None
    chat_domains: Annotated[
        tuple[MailDomain, ...],
        _doc(
            "The chat domains, `domain` among them, if this Postfix serves other domains, too. The rules "
            "apply only to their mail; other mail passes unchanged. If empty, they apply to all mail."
        ),
    ] = ()
    port_443: Annotated[
        bool,
        _doc(
            "Whether port 443 of this host also serves IMAP and submission to clients that name them by ALPN "
            "(RFC 7301). Autoconfig lists it then."
        ),
    ] = False
    max_message_size: Annotated[
        Size,
        _doc(
            "Maximum size of a message that a user sends. Delta Chat makes 71.5 MiB of a file of 50 MiB: it "
            "encrypts it, and writes that in Base64. Postfix, peers and mailboxes have a mebibyte more, for "
            "what is added on the way."
        ),
    ] = Size(75497472)
    max_recipients: Annotated[int, _doc("Maximum number of recipients of a message.")] = 1000

    def __post_init__(self) -> None:
        if self.chat_domains and self.domain not in self.chat_domains:
            raise ValueError("chat_domains: wants `domain` among them")

    @property
    def max_relayed_size(self) -> int:
        """Maximum size in octets of a message that a server sends: a peer, or Postfix from its queue."""
        return self.max_message_size + _ADDED_ON_THE_WAY

    @property
    def host(self) -> str:
        """The name of this host: `hostname`, else `domain`."""
        return self.hostname or self.domain


class AccountSettings(Section, frozen=True):
    """Accounts. By default, the first login creates an account."""

    registration: Annotated[
        Literal["open", "manual", "token", "closed"],
        _doc(
            "Who creates accounts. `open`: the first login. `manual`: the same, but not for apps that add "
            "this relay by themselves. `token`: `POST /new` with a token from `chatmailctl token create`. "
            "`closed`: only the operator."
        ),
    ] = "open"
    local_part_min: Annotated[int, _doc("Minimum number of characters before the @.")] = 8
    local_part_max: Annotated[int, _doc("Maximum number of characters before the @.")] = 20
    password_min: Annotated[int, _doc("Minimum number of characters of a password.")] = 9
    new_per_minute: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="New accounts per minute from one IPv4 address or IPv6 /64; also as many at once. "
            "0: no limit.",
        ),
    ] = 120
    names_kept: Annotated[
        Duration, _doc("How long the address of a deleted or expired account is reserved. `0s`: not at all.")
    ] = Duration(90 * 86400)
    quota: Annotated[Size, _doc("Quota of a mailbox.")] = Size(500_000_000)


class LimitSettings(Section, frozen=True):
    """Resources of this host that must be free to create new accounts. Existing accounts are not affected."""

    load: Annotated[
        float, msgspec.Meta(ge=0, description="Maximum load average (1 min) per processor. 0: no limit.")
    ] = 4.0
    memory: Annotated[Size, _doc("Minimum available memory.")] = Size(100 << 20)
    disk: Annotated[Size, _doc("Minimum free disk space for mail, and for the database.")] = Size(1 << 30)


class ExpirySettings(Section, frozen=True):
    """When chatmail-expire removes mail, accounts and folders. `0s` means never."""

    mail: Annotated[Duration, _doc("Messages expire this long after they arrived.")] = Duration(20 * 86400)
    large_mail: Annotated[
        Duration, _doc("Large messages that were read expire this long after they arrived.")
    ] = Duration(7 * 86400)
    large: Annotated[Size, _doc("A message of more than this is large.")] = Size(200_000)
    accounts: Annotated[
        Duration, _doc("Accounts expire, with all their data, this long after the last login. Full days.")
    ] = Duration(90 * 86400)
    empty_folders: Annotated[
        Duration, _doc("Empty folders (never the inbox) expire this long after they were created.")
    ] = Duration(20 * 86400)


class SubmissionSettings(Section, frozen=True):
    """Mail from our users."""

    rate_per_minute: Annotated[
        int, msgspec.Meta(ge=0, description="Messages that a user may send per minute. 0: no limit.")
    ] = 60
    rate_burst: Annotated[
        int, msgspec.Meta(ge=1, description="Messages at once, before that rate applies.")
    ] = 10
    recipients_per_minute: Annotated[
        int, msgspec.Meta(ge=0, description="Recipients of a user's messages per minute. 0: no limit.")
    ] = 1000
    recipients_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            description="Recipients at once, before that rate applies: five messages with the most "
            "recipients. A message is sent to all of its recipients or refused.",
        ),
    ] = 5000


class InboundSettings(Section, frozen=True):
    """Mail from peers, by SMTP and by HTTPS."""

    ip_literals: Annotated[
        Literal["strict", "open"],
        _doc(
            "Senders at an IP literal, which can't have DKIM keys. `strict`: accepted only from that IP "
            "address. `open`: from any."
        ),
    ] = "strict"
    unsigned: Annotated[
        Literal["origin", "refuse"],
        _doc(
            "Mail without a DKIM signature. `origin`: accepted from IP addresses that the author's domain "
            "or its MX hosts have in DNS (madmail up to 2.23 does not sign). `refuse`: refused."
        ),
    ] = "origin"
    unknown_per_minute: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="Unknown recipients per minute that one peer (IPv4 address, IPv6 /64) may learn of. "
            "Beyond, it gets a 450 for all that it has not tried before, known or not. 0: no limit.",
        ),
    ] = 60
    unknown_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            description="Unknown recipients at once, before that rate applies: two large messages.",
        ),
    ] = 2000
    missing_key: Annotated[
        Duration,
        _doc("How long mail is refused temporarily (451) if its DKIM key is not in DNS, before permanently."),
    ] = Duration(4 * 3600)


class RelaySettings(Section, frozen=True):
    """Mail to peers."""

    connect_timeout: Annotated[Duration, _doc("Timeout for TCP connection and TLS handshake.")] = Duration(5)
    attempt_timeout: Annotated[
        Duration,
        _doc(
            "Timeout for all attempts for a message together, plus 8 s per MiB of it. Postfix waits 600 s, "
            "plus 8 s per MiB of the largest message."
        ),
    ] = Duration(30)
    allow_networks: Annotated[
        NetworkList,
        _doc("Special-purpose networks in which peers are allowed all the same (a lab's, a site's)."),
    ] = NetworkList()
    workers: Annotated[int, msgspec.Meta(ge=1, description="Maximum number of concurrent deliveries.")] = 64
    workers_per_domain: Annotated[
        int,
        msgspec.Meta(
            ge=1, description="Concurrent deliveries to one domain; fewer if several domains are slow."
        ),
    ] = 16
    nameservers: Annotated[
        tuple[Nameserver, ...],
        _doc("DNS servers: IP addresses, or `address@port`. If empty, those of /etc/resolv.conf."),
    ] = ()


class PushSettings(Section, frozen=True):
    """Push notifications to phones, through a gateway to the services of Apple and Google."""

    gateway: Annotated[
        Url,
        _doc("URL to which a device token is posted when mail arrives, and nothing else. Empty: no push."),
    ] = Url("https://notifications.delta.chat/notify")
    when: Annotated[
        Literal["offline", "always"],
        _doc(
            "`offline`: notify while no client of the account is connected. `always`: notify also while "
            "another device is connected, or while a lost connection is not noticed yet."
        ),
    ] = "offline"
    token_lifetime: Annotated[Duration, _doc("Lifetime of a device token after an app last set it.")] = (
        Duration(90 * 86400)
    )
    timeout: Annotated[Duration, _doc("Timeout for one request to the gateway.")] = Duration(15)
    retry: Annotated[
        Duration, _doc("Delay before the first retry; four times as long for each further one, at most 1 h.")
    ] = Duration(5)
    give_up: Annotated[Duration, _doc("A notification is retried for this long.")] = Duration(86400)


class MetadataSettings(Section, frozen=True):
    """IMAP METADATA entries for apps, under `/shared/vendor/deltachat/`."""

    deltachat: Annotated[
        MetadataEntries,
        _doc('Entries and values, e.g. `{ irohrelay = "https://…" }`. `maxsmtprecipients` is always there.'),
    ] = msgspec.field(default_factory=MetadataEntries)
    turn: Annotated[
        HostPort | None, _doc("coturn for calls, `host:port`. Its secret is in /etc/chatmail/turn.secrets.")
    ] = None


class PagesSettings(Section, frozen=True):
    """Texts about the operator on the web pages. Empty ones are left out. Line breaks are kept."""

    contact: Annotated[
        Text,
        _doc(
            "How to contact the operator: an e-mail address on another server (accounts here accept "
            "encrypted mail only), an https: URL such as an invite link, or any text."
        ),
    ] = Text("")
    privacy_operator: Annotated[
        Text, _doc("Who is responsible for the relay: name and postal address, for the privacy page.")
    ] = Text("")
    privacy_officer: Annotated[Text, _doc("The data protection officer, if there is one.")] = Text("")
    privacy_authority: Annotated[Text, _doc("The authority to which users may complain.")] = Text("")
    privacy_text: Annotated[Text, _doc("Additional text for the privacy page.")] = Text("")
    log_days: Annotated[
        int, msgspec.Meta(ge=0, description="Days that journald keeps the log, for the privacy page.")
    ] = 3


class WebimapSettings(Section, frozen=True):
    """Mailbox and submission for web clients, by `chatmail-webimap`."""

    origins: Annotated[
        tuple[Url, ...],
        _doc("Origins of web clients on other sites: `https://app.example`. The relay's own is allowed."),
    ] = ()
    query_login: Annotated[
        bool, _doc("Whether a WebSocket's address may hold the password (`?email=…&password=…`).")
    ] = True
    connections: Annotated[
        int, msgspec.Meta(ge=1, description="Sockets and requests of one account at once.")
    ] = 20
    frame: Annotated[
        Size, _doc("Maximum size of a frame from a client. Larger messages are sent by `POST`.")
    ] = Size(1 << 20)
    certificate: Annotated[str, _doc("File with the certificate that Dovecot and Postfix must show.")] = (
        "/etc/chatmail/tls/fullchain.pem"
    )

    def __post_init__(self) -> None:
        # RFC 6454, 6.2: an origin has no path.
        if any(one.count("/") != 2 for one in self.origins):
            raise ValueError("origins: wants `https://host` without a slash at the end")


class ListenSettings(Section, frozen=True):
    """Local sockets between our programs, Postfix and Dovecot. Ansible renders both sides from them."""

    inject: Annotated[HostPort, _doc("Postfix's smtpd for mail that arrived by /mxdeliv.")] = HostPort(
        "127.0.0.1:10025"
    )
    mixed: Annotated[
        HostPort, _doc("The same, if some recipients are refused: Postfix sends the bounce.")
    ] = HostPort("127.0.0.1:10029")
    reinject: Annotated[HostPort, _doc("Postfix's smtpd for mail to be sent by SMTP.")] = HostPort(
        "127.0.0.1:10026"
    )
    https_only: Annotated[HostPort, _doc("The relay's SMTP port for HTTPS only.")] = HostPort(
        "127.0.0.1:10027"
    )
    hooks: Annotated[HostPort, _doc("chatmail-hooks, which Dovecot queries.")] = HostPort("127.0.0.1:10028")
    webimap_imaps: Annotated[
        HostPort, _doc("Dovecot's imaps with the PROXY protocol, for chatmail-webimap.")
    ] = HostPort("127.0.0.1:11993")
    webimap_submissions: Annotated[HostPort, _doc("Postfix's submissions with the PROXY protocol.")] = (
        HostPort("127.0.0.1:11465")
    )
    resolver: Annotated[str, _doc("Socket to the host's validating DNS resolver, for the milter.")] = (
        "/run/chatmail-resolver.sock"
    )
    mailboxes: Annotated[str, _doc("Socket of Dovecot's quota-status, for mxdeliv-relay.")] = (
        "/run/dovecot/chatmail-mailboxes"
    )
    connections: Annotated[str, _doc("Socket of Dovecot's anvil, which knows the connected users.")] = (
        "/run/dovecot/chatmail-connections"
    )


class StoreSettings(Section, frozen=True):
    """The database, and the directory of mail."""

    url: Annotated[str, _doc("SQLAlchemy URL of the database: SQLite, or PostgreSQL for several hosts.")] = (
        "sqlite:////var/lib/chatmail/store.sqlite"
    )
    mail: Annotated[str, _doc("Directory of all mailboxes, as in Dovecot's mail_home.")] = "/var/vmail"

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for another database. (Parsed here: not every program loads SQLAlchemy.)"""
        scheme, _, path = self.url.partition(":///")
        path = path.partition("?")[0]
        return Path(path) if scheme.partition("+")[0] == "sqlite" and path not in ("", ":memory:") else None


class Config(Section, frozen=True):
    """The whole file."""

    mail: MailSettings
    accounts: AccountSettings = AccountSettings()
    limits: LimitSettings = LimitSettings()
    expiry: ExpirySettings = ExpirySettings()
    submission: SubmissionSettings = SubmissionSettings()
    inbound: InboundSettings = InboundSettings()
    relay: RelaySettings = RelaySettings()
    push: PushSettings = PushSettings()
    metadata: MetadataSettings = MetadataSettings()
    pages: PagesSettings = PagesSettings()
    webimap: WebimapSettings = WebimapSettings()
    listen: ListenSettings = ListenSettings()
    store: StoreSettings = StoreSettings()
