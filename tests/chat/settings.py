"""A relay whose operator sets something else for a while: its configuration changed, then put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.host import LabHost

FILE = "/etc/chatmail/chatmail.toml"
_READERS = "chatmail-hooks.service mxdeliv-app.service"


@contextmanager
def changed(host: LabHost, key: str, value: str) -> Iterator[None]:
    """Set the line `key = …`, which must be there once, for hooks and web pages."""
    before = host.run(["cat", FILE]).stdout
    lines = before.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith(f"{key} =")]
    lines[place] = f"{key} = {value}"
    _write(host, "\n".join(lines) + "\n")
    try:
        yield
    finally:
        _write(host, before)


def _write(host: LabHost, text: str) -> None:
    host.run(f"cat > {FILE} && systemctl restart {_READERS}", input=text)
