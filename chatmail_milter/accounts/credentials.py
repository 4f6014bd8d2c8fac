"""Names and passwords of accounts: which are allowed, hashes for Dovecot, fresh ones for `POST /new`, links.

A rule returns a reason for refusal, or None. Whether registration is open is checked elsewhere: an operator
may create accounts while it is closed. The links are those of chatmail apps, as in a page, message or QR
code: https://github.com/deltachat/interface/blob/main/uri-schemes.md
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import string
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from argon2 import PasswordHasher

from chatmail_milter import address, config
from chatmail_milter.config import Config

# The names that other chatmail relays allow. No leading dot or dash: mail directories are named after the
# user, and so are arguments of programs.
_LOCAL_PART = re.compile(r"[a-z0-9_][a-z0-9._-]*\Z")
_LOCAL_PART_MAX = 64  # RFC 5321, 4.5.3.1.1
# Characters. Argon2 would hash megabytes, at our cost.
_PASSWORD_MAX = 256
# Role names (RFC 2142), and names that the gate and Postfix reserve for the mail system.
_RESERVED = frozenset(
    {"mailer-daemon", "double-bounce", "postmaster", "hostmaster", "webmaster", "security", "marketing"}
)
_ELSEWHERE = "not an address of this server's domain"


def refuse(rules: config.AccountSettings, domain: str, user: str, password: str) -> str | None:
    """Why `user` may not register with `password` on `domain`; None if it may.

    Accepts names in canonical form only, as Dovecot passes them (`auth_username_format = %Lu`): for Dovecot,
    `Alice` and `alice` would have two home directories.
    """
    local_part, at, user_domain = user.rpartition("@")
    if not at or user_domain != domain:
        return _ELSEWHERE
    if not rules.local_part_min <= len(local_part) <= rules.local_part_max:
        return f"a name has {rules.local_part_min} to {rules.local_part_max} characters"
    return refuse_name(domain, user) or refuse_password(rules, password)


def refuse_name(domain: str, user: str) -> str | None:
    """Why `user` is not allowed as an address, even by the operator; None if it is. Ignores the lengths."""
    local_part, at, user_domain = user.rpartition("@")
    if not at or user_domain != domain:
        return _ELSEWHERE
    well_formed = _LOCAL_PART.match(local_part) and ".." not in local_part and not local_part.endswith(".")
    if not well_formed or len(local_part) > _LOCAL_PART_MAX:
        return "a name is made of a-z, 0-9, dots, dashes and underscores"
    return "this name is reserved" if local_part in _RESERVED else None


def refuse_password(rules: config.AccountSettings, password: str) -> str | None:
    """Why the password is not allowed; None if it is."""
    if len(password) < rules.password_min:
        return f"a password has at least {rules.password_min} characters"
    if len(password) > _PASSWORD_MAX or not password.isprintable():
        return f"a password has at most {_PASSWORD_MAX} characters, all of them printable"
    return None


def added_by_app(password: str) -> bool:
    """Whether an app chose this relay by itself, and not its user."""
    return len(password) == _PASSWORD_OF_CORE


# One lane, because Dovecot verifies with libsodium. Clients generate 20 random characters, for which any hash
# suffices. With 4 MiB and two passes, a guess at one of the few weak passwords costs 6 ms, and so does a
# login: a thousand logins at once take seconds. The OWASP minimum would take five times that.
_hasher = PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1)

_LOCAL_PART_LENGTH = 9
_PASSWORD_LENGTH = 20
# Delta Chat's core, since 2.59, gives a password of this length to accounts at relays that it adds without
# being asked to, and to no others.
_PASSWORD_OF_CORE = 23
_LOWER = string.ascii_lowercase + string.digits
_ANY = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Credentials:
    """A random address, almost certainly unused, and its password."""

    address: str
    password: str


def hash_password(password: str) -> str:
    """The Argon2id hash with Dovecot's scheme prefix."""
    return "{ARGON2ID}" + _hasher.hash(password)


def fresh(rules: config.AccountSettings, domain: str) -> Credentials:
    """Random credentials that satisfy `rules`. The account is created at the first login."""
    length = min(max(_LOCAL_PART_LENGTH, rules.local_part_min), rules.local_part_max)
    local_part = "".join(secrets.choice(_LOWER) for _ in range(length))
    length = max(_PASSWORD_LENGTH, rules.password_min)
    # With registration `manual` the first login could not create the account.
    length += length == _PASSWORD_OF_CORE
    password = "".join(secrets.choice(_ANY) for _ in range(length))
    return Credentials(f"{local_part}@{domain}", password)


def dcaccount(settings: Config, token: str | None = None) -> str:
    """A `dcaccount:` link: the app requests an account from `/new`. `token`: for registration by token."""
    literal = address.ip_literal(settings.mail.host)
    is_v6 = isinstance(literal, ipaddress.IPv6Address)
    authority = f"[{literal}]" if is_v6 else host_name(settings.mail.host)
    query = "?" + urlencode({"token": token}) if token else ""
    return f"dcaccount:https://{authority}/new{query}"


# Of `ic` and `sc` in `dclogin:`. By itself the core accepts any certificate of a name that begins with `_`,
# but of an address only one that an authority vouches for, which the host can not make.
_ANY_CERTIFICATE = 3


def dclogin(settings: Config, account: str, password: str) -> str:
    """A `dclogin:` link to an existing account, with server names and ports, so the app looks nothing up."""
    host = host_name(settings.mail.host)
    imap = {"ih": host, "ip": 993, "is": "ssl"}
    smtp = {"sh": host, "sp": 465, "ss": "ssl"}
    if address.ip_literal(settings.mail.host) is not None:
        imap["ic"] = smtp["sc"] = _ANY_CERTIFICATE
    # Not quote_plus: programs disagree on whether `+` is a space in a query.
    query = urlencode({"p": password, "v": 1, **imap, **smtp}, quote_via=quote, safe="")
    return f"dclogin:{quote(account, safe='@')}?{query}"


def host_name(domain: str) -> str:
    """A domain as a host name: removes the brackets of an IP literal."""
    literal = address.ip_literal(domain)
    return domain if literal is None else str(literal)
