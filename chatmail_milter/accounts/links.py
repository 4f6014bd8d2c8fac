"""Links that a chatmail app takes, from a page, a message or a QR code: an account to make, one to log in to.

https://github.com/deltachat/interface/blob/main/uri-schemes.md
"""

from __future__ import annotations

import ipaddress
from urllib.parse import quote, urlencode

from chatmail_milter import address
from chatmail_milter.config import Config


def dcaccount(settings: Config, token: str | None = None) -> str:
    """Have the app ask `/new` for an account; `token` is what registration by token wants."""
    literal = address.ip_literal(settings.mail.host)
    authority = f"[{literal}]" if isinstance(literal, ipaddress.IPv6Address) else bare(settings.mail.host)
    query = "?" + urlencode({"token": token}) if token else ""
    return f"dcaccount:https://{authority}/new{query}"


def dclogin(settings: Config, account: str, password: str) -> str:
    """Have the app log in to an account that is there, with the servers that it would else look for."""
    host = bare(settings.mail.host)
    imap = {"ih": host, "ip": 993, "is": "ssl"}
    smtp = {"sh": host, "sp": 465, "ss": "ssl"}
    # Not quote_plus: what a space is in a query, readers differ about.
    query = urlencode({"p": password, "v": 1, **imap, **smtp}, quote_via=quote, safe="")
    return f"dclogin:{quote(account, safe='@')}?{query}"


def bare(domain: str) -> str:
    """A domain as a host name: an IP literal without its brackets."""
    literal = address.ip_literal(domain)
    return domain if literal is None else str(literal)
