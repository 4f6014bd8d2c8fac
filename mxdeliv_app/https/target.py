"""An HTTPS target: URL, and how to connect and verify."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from mxdeliv_app.https.allowed_addresses import IPAddress
from mxdeliv_app.mxdeliv import wire


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to POST to. `host`: in URL, SNI and certificate. `pinned`: IP address to connect to instead."""

    host: str
    port: int = 443
    path: str = wire.PATH
    pinned: IPAddress | None = None
    verify: bool = True

    @property
    def authority(self) -> str:
        """`host` or `host:port`, for the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def key(self) -> str:
        """The key in the database: `host`, with port, path and pinned address unless they are the default."""
        path = "" if self.path == wire.PATH else self.path
        return f"{self.authority}{path}" + (f"@{self.pinned}" if self.pinned is not None else "")

    @property
    def url(self) -> str:
        """The URL."""
        return f"https://{self.authority}{self.path}"


# Connects to a target, without TLS.
Dial = Callable[[Target], socket.socket]
