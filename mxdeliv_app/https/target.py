"""A host to connect to, and what its URL and its certificate say. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from mxdeliv_app.https.allowed_addresses import IPAddress
from mxdeliv_app.mxdeliv import wire


@dataclass(frozen=True, slots=True)
class Target:
    """One place to POST to. `host` is what URL, SNI and certificate say; `pinned` is connected to instead."""

    host: str
    port: int = 443
    path: str = wire.PATH
    pinned: IPAddress | None = None
    verify: bool = True

    @property
    def authority(self) -> str:
        """`host` or `host:port`, as the Host field has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def key(self) -> str:
        """The name under which the store knows it: `host`, and what differs from the usual."""
        path = "" if self.path == wire.PATH else self.path
        return f"{self.authority}{path}" + (f"@{self.pinned}" if self.pinned is not None else "")

    @property
    def url(self) -> str:
        """The URL."""
        return f"https://{self.authority}{self.path}"
