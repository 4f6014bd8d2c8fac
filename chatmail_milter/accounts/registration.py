"""Who may have an account: the rules of a first login, as facts to a reason for refusing, or none.

Registration open or closed is not looked at here: the operator may make accounts where strangers may not.
"""

from __future__ import annotations

import re

from chatmail_milter import config

# What the classic chatmail relay allows. No leading dot or dash: a Maildir of that name, or an argument.
_LOCAL_PART = re.compile(r"[a-z0-9_][a-z0-9._-]*\Z")
_LOCAL_PART_MAX = 64  # RFC 5321, 4.5.3.1.1
# Argon2 would hash megabytes as gladly.
_PASSWORD_MAX = 256
# Names that mean a role (RFC 2142), or the mail system itself to the gate and to Postfix.
_RESERVED = frozenset(
    {"mailer-daemon", "double-bounce", "postmaster", "hostmaster", "webmaster", "security", "marketing"}
)
_ELSEWHERE = "not an address of this server's domain"


def refuse(rules: config.AccountSettings, domain: str, user: str, password: str) -> str | None:
    """Why `user`, as it was typed, may not have an account with `password` on `domain`; None if it may.

    Names are taken in canonical form only, as Dovecot hands them on (`auth_username_format = %Lu`): were
    `Alice` and `alice` two spellings of one account here, they would be two home directories there.
    """
    local_part, at, user_domain = user.rpartition("@")
    if not at or user_domain != domain:
        return _ELSEWHERE
    if not rules.local_part_min <= len(local_part) <= rules.local_part_max:
        return f"a name has {rules.local_part_min} to {rules.local_part_max} characters"
    return refuse_name(domain, user) or refuse_password(rules, password)


def refuse_name(domain: str, user: str) -> str | None:
    """Why `user` can be nobody's address here, however short or long: what holds for the operator too."""
    local_part, at, user_domain = user.rpartition("@")
    if not at or user_domain != domain:
        return _ELSEWHERE
    well_formed = _LOCAL_PART.match(local_part) and ".." not in local_part and not local_part.endswith(".")
    if not well_formed or len(local_part) > _LOCAL_PART_MAX:
        return "a name is made of a-z, 0-9, dots, dashes and underscores"
    return "this name is reserved" if local_part in _RESERVED else None


def refuse_password(rules: config.AccountSettings, password: str) -> str | None:
    """Why nobody may have this password; None if one may."""
    if len(password) < rules.password_min:
        return f"a password has at least {rules.password_min} characters"
    if len(password) > _PASSWORD_MAX or not password.isprintable():
        return f"a password has at most {_PASSWORD_MAX} characters, all of them printable"
    return None
