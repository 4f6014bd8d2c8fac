"""The one typed configuration, `/etc/chatmail/chatmail.toml` (or `$CHATMAIL_CONFIG`), read by every program.

Unknown and malformed keys are errors of one line that names the key and the nearest known one. The documented
example is generated from these types (`chatmailctl config example`), so a comment on a field here is its
documentation there. What a value may be is in `values.py`.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

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
    decode,
)

DEFAULT_PATH = Path("/etc/chatmail/chatmail.toml")


class ConfigError(Exception):
    """The configuration can't be used; the message is one line that names the key."""


def _doc(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections share: frozen, keyword-only, no unknown keys."""


class MailSettings(Section, frozen=True):
    """This relay."""

    domain: Annotated[MailDomain, _doc("The mail domain: what stands after the @ of every account here.")]
    hostname: Annotated[MailDomain | None, _doc("This host's name, its MX. The mail domain if left out.")] = (
        None
    )
    chat_domains: Annotated[
        tuple[MailDomain, ...],
        _doc(
            "Where Postfix serves other domains too: the domains whose mail is judged, `domain` among them. "
            "Mail of no other passes as it is. All mail is judged if empty."
        ),
    ] = ()
    max_message_size: Annotated[Size, _doc("Largest message, on every road; 30 MiB is what peers take.")] = (
        Size(31457280)
    )
    max_recipients: Annotated[int, _doc("Recipients of one message.")] = 1000

    def __post_init__(self) -> None:
        if self.chat_domains and self.domain not in self.chat_domains:
            raise ValueError("chat_domains: wants `domain` among them")

    @property
    def host(self) -> str:
        """The name that this host calls itself."""
        return self.hostname or self.domain


class AccountSettings(Section, frozen=True):
    """Accounts, made at their first login."""

    registration: Annotated[
        Literal["open", "token", "closed"],
        _doc(
            "`open`: a first login makes the account. `token`: `POST /new` does, for who has a token of "
            "`chatmailctl token create`. `closed`: the operator does."
        ),
    ] = "open"
    local_part_min: Annotated[int, _doc("Fewest characters before the @.")] = 8
    local_part_max: Annotated[int, _doc("Most characters before the @.")] = 20
    password_min: Annotated[int, _doc("Fewest characters of a password.")] = 9
    new_per_minute: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="Accounts that first logins from one address, or IPv6 /64, may make in a minute; as "
            "many at once. 0: any number.",
        ),
    ] = 120
    names_kept: Annotated[
        Duration,
        _doc("How long the name of a deleted or expired account is not given out again. `0s`: not reserved."),
    ] = Duration(90 * 86400)
    quota: Annotated[Size, _doc("What one mailbox may hold.")] = Size(500_000_000)


class LimitSettings(Section, frozen=True):
    """What must be left of this machine for new accounts. Those that are there are served all the same."""

    load: Annotated[
        float,
        msgspec.Meta(ge=0, description="Highest load average for each processor, of one minute; 0: any."),
    ] = 4.0
    memory: Annotated[Size, _doc("Least memory that programs can still get.")] = Size(100 << 20)
    disk: Annotated[Size, _doc("Least free space for mail, and for the store.")] = Size(1 << 30)


class ExpirySettings(Section, frozen=True):
    """What chatmail-expire removes, and when. `0s` means never."""

    mail: Annotated[Duration, _doc("Any mail, this long after it came.")] = Duration(20 * 86400)
    large_mail: Annotated[Duration, _doc("Large mail that was read, this long after it came.")] = Duration(
        7 * 86400
    )
    large: Annotated[Size, _doc("What is large: any message of more than this.")] = Size(200_000)
    accounts: Annotated[
        Duration, _doc("Accounts with all that is theirs, this long after the last login. Full days.")
    ] = Duration(90 * 86400)
    empty_folders: Annotated[
        Duration, _doc("Folders with nothing in them (never the inbox), this long after they were made.")
    ] = Duration(20 * 86400)


class SubmissionSettings(Section, frozen=True):
    """Mail from our users."""

    rate_per_minute: Annotated[
        int,
        msgspec.Meta(ge=0, description="Messages that one user may send in a minute; 0 for no limit."),
    ] = 60
    rate_burst: Annotated[
        int, msgspec.Meta(ge=1, description="How many of them at once, after which one at a time.")
    ] = 10
    recipients_per_minute: Annotated[
        int,
        msgspec.Meta(ge=0, description="Recipients of one user's messages in a minute; 0 for no limit."),
    ] = 1000
    recipients_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            description="How many of them at once: five messages to as many as a message may have. "
            "A message that may begin goes to all of its recipients.",
        ),
    ] = 5000


class InboundSettings(Section, frozen=True):
    """Mail from peers, by SMTP and by HTTPS."""

    ip_literals: Annotated[
        Literal["strict", "open"],
        _doc(
            "Senders at an IP literal can't sign with DKIM: `strict` takes them only from that very address."
        ),
    ] = "strict"
    unsigned: Annotated[
        Literal["origin", "refuse"],
        _doc(
            "Mail without a DKIM signature. `origin`: taken from an address that the author's domain or one "
            "of its mail hosts has in DNS (madmail up to 2.23 signs nothing). `refuse`: never taken."
        ),
    ] = "origin"
    unknown_per_minute: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="Recipients without an account that one peer (IPv4 address, IPv6 /64) may be told of "
            "in a minute. Beyond, 450 for all that it was not told of yet, accounts or not. 0: no limit.",
        ),
    ] = 60
    unknown_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1, description="How many of them at once: a large provider's, or those of two messages."
        ),
    ] = 2000
    missing_key: Annotated[
        Duration,
        _doc(
            "How long mail from a peer is put off (451) while its DKIM key is not in DNS, before a refusal."
        ),
    ] = Duration(4 * 3600)


class RelaySettings(Section, frozen=True):
    """Mail to peers."""

    connect_timeout: Annotated[Duration, _doc("For one TCP connection and TLS handshake.")] = Duration(5)
    attempt_timeout: Annotated[
        Duration,
        _doc(
            "For all attempts for a message together, and 8 s more for each MiB of it. Postfix waits 600 s."
        ),
    ] = Duration(30)
    allow_networks: Annotated[
        NetworkList,
        _doc("Special-purpose networks that peers may live in all the same (a lab's, a site's own)."),
    ] = NetworkList()
    workers: Annotated[int, msgspec.Meta(ge=1, description="Deliveries under way at once.")] = 64
    workers_per_domain: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            description="How many of them may go to one domain; fewer where several domains are slow.",
        ),
    ] = 16
    nameservers: Annotated[
        tuple[Nameserver, ...],
        _doc(
            "DNS servers to ask: IP addresses, `address@port` if not 53. Those of /etc/resolv.conf if empty."
        ),
    ] = ()


class PushSettings(Section, frozen=True):
    """Notices to phones that are not connected, by way of the gateway that knows their makers' services."""

    gateway: Annotated[
        Url,
        _doc(
            "Where device tokens are posted when mail comes; nobody is told if empty. It learns nothing else."
        ),
    ] = Url("https://notifications.delta.chat/notify")
    when: Annotated[
        Literal["offline", "always"],
        _doc(
            "`offline`: while no client of the account is connected. `always`: a phone is told although "
            "another device of its owner is connected, or its own lost connection is not noticed yet."
        ),
    ] = "offline"
    token_lifetime: Annotated[Duration, _doc("How long after it was last given a device token is used.")] = (
        Duration(90 * 86400)
    )
    timeout: Annotated[Duration, _doc("For one attempt to reach the gateway, answer and all.")] = Duration(15)
    retry: Annotated[
        Duration,
        _doc("From a failure of the gateway to the next attempt; four times as long each time, 1 h at most."),
    ] = Duration(5)
    give_up: Annotated[Duration, _doc("How long a notice is tried.")] = Duration(86400)


class MetadataSettings(Section, frozen=True):
    """What an app may ask about the relay by IMAP METADATA, under `/shared/vendor/deltachat/`."""

    deltachat: Annotated[
        MetadataEntries,
        _doc('Entries and values, e.g. `{ irohrelay = "https://…" }`. `maxsmtprecipients` is always there.'),
    ] = msgspec.field(default_factory=MetadataEntries)


class PagesSettings(Section, frozen=True):
    """What the web pages say of the operator; nothing of it if empty. Lines are kept."""

    contact: Annotated[
        Text,
        _doc(
            "How people reach the operator: an e-mail address elsewhere, an https: URL such as an invite "
            "link, or any text. Accounts here take encrypted mail only."
        ),
    ] = Text("")
    privacy_operator: Annotated[
        Text, _doc("Who is responsible for the relay: name and postal address, for the privacy page.")
    ] = Text("")
    privacy_officer: Annotated[Text, _doc("The data protection officer, if there is one.")] = Text("")
    privacy_authority: Annotated[Text, _doc("The authority to which users may complain.")] = Text("")
    privacy_text: Annotated[Text, _doc("What else the privacy page shall say.")] = Text("")
    log_days: Annotated[
        int, msgspec.Meta(ge=0, description="How long the log is kept: what journald has, for the page.")
    ] = 3


class ListenSettings(Section, frozen=True):
    """Where our processes and Postfix meet on this host; Ansible renders both sides from the same values."""

    inject: Annotated[HostPort, _doc("Postfix's smtpd for mail that came by /mxdeliv.")] = HostPort(
        "127.0.0.1:10025"
    )
    mixed: Annotated[
        HostPort, _doc("The same, for recipients of whom some were refused: Postfix sends the bounce.")
    ] = HostPort("127.0.0.1:10029")
    reinject: Annotated[HostPort, _doc("Postfix's smtpd for mail that goes on by SMTP.")] = HostPort(
        "127.0.0.1:10026"
    )
    https_only: Annotated[HostPort, _doc("The relay's SMTP port that tries only HTTPS.")] = HostPort(
        "127.0.0.1:10027"
    )
    hooks: Annotated[HostPort, _doc("chatmail-hooks, asked by Dovecot.")] = HostPort("127.0.0.1:10028")
    resolver: Annotated[str, _doc("Socket that leads to the host's validating resolver, for the milter.")] = (
        "/run/chatmail-resolver.sock"
    )
    mailboxes: Annotated[str, _doc("Socket of Dovecot's quota-status, asked by the relay.")] = (
        "/run/dovecot/chatmail-mailboxes"
    )
    connections: Annotated[str, _doc("Socket of Dovecot's anvil, asked who is connected.")] = (
        "/run/dovecot/chatmail-connections"
    )


class StoreSettings(Section, frozen=True):
    """What the relay remembers."""

    url: Annotated[str, _doc("SQLAlchemy URL; SQLite, or PostgreSQL where several hosts share it.")] = (
        "sqlite:////var/lib/chatmail/store.sqlite"
    )
    mail: Annotated[str, _doc("Directory of all mailboxes, where Dovecot keeps them.")] = "/var/vmail"

    @property
    def file(self) -> Path | None:
        """SQLite's file; None where the store is a server's. (Not every program loads SQLAlchemy.)"""
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
    listen: ListenSettings = ListenSettings()
    store: StoreSettings = StoreSettings()


def place() -> Path:
    """Where the configuration is: `$CHATMAIL_CONFIG`, else `DEFAULT_PATH`."""
    return Path(os.environ.get("CHATMAIL_CONFIG", DEFAULT_PATH))


def load(path: Path | None = None) -> Config:
    """The configuration at `path`, else at `place()`. Raises `ConfigError`."""
    path = path or place()
    try:
        return parse(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8") from None


def parse(text: str, name: str = "configuration") -> Config:
    """The configuration that `text` (TOML) spells; `name` begins every error. Raises `ConfigError`."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not TOML: {error}") from None
    _refuse_unknown(name, tree, Config, "")
    try:
        return msgspec.convert(tree, Config, dec_hook=decode)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        where = where.rstrip("`")
        what += _choices(where)
        raise ConfigError(f"{name}: {where or 'the file'}: {what}") from None


def load_or_exit() -> Config:
    """`load`, or one line on stderr and exit 78 (EX_CONFIG of sysexits.h): how every program begins."""
    try:
        return load()
    except ConfigError as error:
        print(f"fix the configuration: {error}", file=sys.stderr)
        sys.exit(78)


def _choices(where: str) -> str:
    """The texts that the setting `where` (`section.key`) can have, if these are fixed."""
    kind: Any = Config
    for key in where.split("."):
        kind = get_type_hints(kind).get(key) if isinstance(kind, type) else None
    texts = get_args(kind) if get_origin(kind) is Literal else ()
    return f"; it can be {', '.join(texts)}" if texts else ""


def _refuse_unknown(name: str, tree: dict[str, Any], section: type[Any], prefix: str) -> None:
    known = get_type_hints(section)
    for key, value in tree.items():
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise ConfigError(f"{name}: {prefix}{key}: no such key; the nearest is {prefix}{nearest[0]}")
        inner = known[key]
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, Section):
            _refuse_unknown(name, value, inner, f"{prefix}{key}.")
