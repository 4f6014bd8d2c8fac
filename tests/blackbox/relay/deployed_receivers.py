"""filtermail 0.7.4 and madmail 2.23 as receivers of `POST /mxdeliv`: what each answers, and to what.

Facts kept, from their sources (docs/wire.md, 1):

- filtermail looks at the message before it looks for recipients, and answers each refusal, permanent or not,
  with 400 and the SMTP reply; 413 above its size limit; 200 `250 OK`. It asks Postfix, which refuses the
  whole message for one unknown recipient. In the classic relay, nginx before it has its usual limit of 1 MiB.
- madmail answers in words without SMTP codes: 400 `bad request` where no recipient is named, 403 for the
  policy and for cleartext, 413 above its limits, 507 `quota` where every recipient left is over quota, else
  200 `OK`. It drops unknown recipients in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.blackbox.relay.installed_relay import Script, SeenPost

Answer = tuple[int, dict[str, str], bytes]
_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
_NGINX_413 = (
    b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n"
    b"<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)


def _encrypted(seen: SeenPost) -> bool:
    return b"-----BEGIN PGP MESSAGE-----" in seen.body


@dataclass
class Filtermail:
    """filtermail 0.7.4 behind nginx, as `cmdeploy` sets it up. Sizes in octets."""

    users: set[str]
    nginx_limit: int = 1 << 20
    max_size: int = 31_457_280
    delivered: list[tuple[str, bytes]] = field(default_factory=list)

    def __call__(self, seen: SeenPost) -> Answer:
        if len(seen.body) > self.nginx_limit:
            return 413, {"Content-Type": "text/html"}, _NGINX_413
        if len(seen.body) > self.max_size:
            return 413, {}, b"552 Message exceeds maximum size"
        if not seen.body.lower().startswith(b"from:") and b"\nfrom:" not in seen.body.lower():
            return 400, {}, b"500 Invalid FROM header: "
        if not _encrypted(seen):
            return 400, {}, b"523 Encryption Needed: Invalid Unencrypted Mail"
        recipients = seen.values("X-Mail-To")
        for one in recipients:
            if one not in self.users:
                line = (
                    f"550 5.1.1 <{one}>: Recipient address rejected: User unknown (forwarded from 127.0.0.1)"
                )
                return 400, {}, line.encode()
        self.delivered += [(one, seen.body) for one in recipients]
        return 200, {}, b"250 OK"


@dataclass
class Madmail:
    """madmail 2.23, which serves HTTPS itself. Sizes in octets."""

    users: set[str]
    full: set[str] = field(default_factory=set)
    blocked_domains: set[str] = field(default_factory=set)
    max_size: int = 32 << 20
    delivered: list[tuple[str, bytes]] = field(default_factory=list)

    def __call__(self, seen: SeenPost) -> Answer:
        recipients = seen.values("X-Mail-To")
        if not recipients:
            return 400, _PLAIN, b"bad request"
        known = [one for one in recipients if one in self.users]
        if not known:
            return 200, _PLAIN, b"OK"  # dropped in silence
        if seen.values("X-Mail-From")[0].rpartition("@")[2] in self.blocked_domains:
            return 403, _PLAIN, b"Forbidden"
        if len(seen.body) > self.max_size:
            return 413, _PLAIN, b"message too large"
        roomy = [one for one in known if one not in self.full]
        if not roomy:
            return 507, _PLAIN, b"quota"
        if not _encrypted(seen):
            return 403, _PLAIN, b"Encryption Needed: Invalid Unencrypted Mail"
        self.delivered += [(one, seen.body) for one in roomy]
        return 200, _PLAIN, b"OK"


# Web servers that say yes to every POST, at a mail domain that has no `/mxdeliv`.
CATCH_ALL: dict[str, Answer] = {
    "a health check": (200, _PLAIN, b"OK. Service is healthy"),
    "a shorter health check": (200, _PLAIN, b"OK"),
    "a search": (200, _PLAIN, b"250 items found"),
    "one that reads like SMTP": (200, _PLAIN, b"250 2.0.0 OK"),
    "a queue": (202, _PLAIN, b"202 OK (queued for processing)"),
    "an API": (201, _PLAIN, b"OK-created"),
    "an API in JSON": (200, {"Content-Type": "application/json"}, b'{"status": "ok"}'),
    "nothing to say": (204, {}, b""),
    "a site of one page": (200, {"Content-Type": "text/html"}, b"<!doctype html><title>Welcome</title>"),
}


def always(answer: Answer) -> Script:
    """A script that gives this answer to every request."""
    return lambda _seen: answer


Receiver = Callable[[SeenPost], Answer]
