"""Types of configuration values: sizes and durations with units, domains, networks, endpoints.

`decode` converts values from TOML. Sizes and durations have the same form on the command line.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from chatmail_milter import address

_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Size(int):
    """Octets, written with a unit: `30MiB`."""


class Duration(float):
    """Seconds, written with a unit: `5s`, `20d`."""


class MailDomain(str):
    """A mail domain in canonical form: a name, or an IP literal."""


class NetworkList(tuple[Network, ...]):
    """IP networks, written as a list of `address/prefix`."""


class HostPort(str):
    """`host:port` on this machine."""

    @property
    def pair(self) -> tuple[str, int]:
        """Host and port, for socket functions."""
        host, _, port = self.rpartition(":")
        return host.strip("[]"), int(port)


class Url(str):
    """An `https:` URL, or empty for none."""


class Text(str):
    """Text of any number of lines, for web pages."""


class MetadataEntries(dict[str, str]):
    """Names of IMAP METADATA entries, and their values."""


class Nameserver(str):
    """A DNS server: an IP address, or `address@port` where the port isn't 53."""

    @property
    def pair(self) -> tuple[str, int]:
        """Address and port."""
        host, _, port = self.partition("@")
        return host, int(port or 53)


def duration(text: str) -> Duration:
    """Parses a duration with a unit, such as `30s` or `20d`. Raises `ValueError`."""
    return Duration(_with_unit(text, _DURATION_UNITS, "30s"))


def decode(kind: type[Any], value: Any) -> Any:
    """Converts a TOML `value` to a type of this module. Raises `ValueError` with the expected form."""
    try:
        decode = _DECODERS[kind]
    except KeyError:
        raise NotImplementedError(kind) from None
    return decode(value)


def _with_unit(value: Any, units: dict[str, Any], example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"wants a number with a unit ({', '.join(units)}), e.g. {example}")
    return float(match[1]) * float(units[match[2]])


def size(text: str) -> Size:
    """Parses a size with a unit, such as `30MiB`. Raises `ValueError` with the expected form."""
    return Size(_with_unit(text, _SIZE_UNITS, "30MiB"))


def _mail_domain(value: Any) -> MailDomain:
    if not isinstance(value, str):
        raise ValueError("wants a domain name")
    return MailDomain(address.domain(value))


def _networks(value: Any) -> NetworkList:
    if not isinstance(value, list):
        raise ValueError("wants a list of networks")
    return NetworkList(ipaddress.ip_network(one) for one in value)


def _endpoint(value: Any) -> HostPort:
    if not isinstance(value, str) or not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-f:]+\]:\d{1,5}", value):
        raise ValueError("wants host:port")
    return HostPort(value)


def _url(value: Any) -> Url:
    wanted = isinstance(value, str) and re.fullmatch(r"https://[!-~]+", value)
    try:
        parts = urlsplit(value) if wanted else None
        # Accessing `port` raises ValueError for a malformed one.
        found = value == "" or (parts is not None and parts.hostname and parts.port != 0)
    except ValueError:
        found = False
    if not found or (parts and (parts.username or parts.fragment)):
        raise ValueError("wants an https: URL")
    return Url(value)


def _text(value: Any) -> Text:
    if not isinstance(value, str) or not all(line.isprintable() for line in value.split("\n")):
        raise ValueError("wants a text without control characters; it may have several lines")
    return Text(value.strip())


def _entries(value: Any) -> MetadataEntries:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError("wants a table of texts")
    for name, text in value.items():
        # RFC 5464, 4.1: entry names are not case-sensitive; a value here is one line.
        if not re.fullmatch(r"[a-z0-9._-]+(/[a-z0-9._-]+)*", name) or not text.isprintable():
            raise ValueError(f"{name}: wants lower-case names, and values of one line")
    return MetadataEntries(value)


def _nameserver(value: Any) -> Nameserver:
    found = re.fullmatch(r"([0-9A-Fa-f.:]+)(?:@(\d{1,5}))?", value) if isinstance(value, str) else None
    if found is None or int(found[2] or 53) > 65535:
        raise ValueError("wants an IP address, or address@port")
    ipaddress.ip_address(found[1])
    return Nameserver(value)


_DECODERS: dict[type[Any], Any] = {
    Size: size,
    Duration: duration,
    MailDomain: _mail_domain,
    NetworkList: _networks,
    HostPort: _endpoint,
    Nameserver: _nameserver,
    Text: _text,
    Url: _url,
    MetadataEntries: _entries,
}
