"""Links for chatmail apps, as in a page, message or QR code: create an account, or log in to one.

https://github.com/deltachat/interface/blob/main/uri-schemes.md
"""

from __future__ import annotations

import ipaddress
from urllib.parse import quote, urlencode

from chatmail_milter import address
from chatmail_milter.config import Config


def dcaccount(settings: Config, token: str | None = None) -> str:
    """A `dcaccount:` link: the app requests an account from `/new`. `token`: for registration by token."""
    literal = address.ip_literal(settings.mail.host)
    authority = f"[{literal}]" if isinstance(literal, ipaddress.IPv6Address) else bare(settings.mail.host)
    query = "?" + urlencode({"token": token}) if token else ""
    return f"dcaccount:https://{authority}/new{query}"


def dclogin(settings: Config, account: str, password: str) -> str:
    """A `dclogin:` link to an existing account, with server names and ports, so the app looks nothing up."""
    host = bare(settings.mail.host)
    imap = {"ih": host, "ip": 993, "is": "ssl"}
    smtp = {"sh": host, "sp": 465, "ss": "ssl"}
    # Not quote_plus: programs disagree on whether `+` is a space in a query.
    query = urlencode({"p": password, "v": 1, **imap, **smtp}, quote_via=quote, safe="")
    return f"dclogin:{quote(account, safe='@')}?{query}"


def bare(domain: str) -> str:
    """A domain as a host name: removes the brackets of an IP literal."""
    literal = address.ip_literal(domain)
    return domain if literal is None else str(literal)
