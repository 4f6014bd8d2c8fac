"""A relay whose operator sets something else for a while: its configuration changed, then put back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.lab.host import LabHost

FILE = "/etc/chatmail/chatmail.toml"
# Each reads it when it starts.
_WEB = "chatmail-hooks.service mxdeliv-app.service"
# When it is restarted, sessions with Postfix that are open get 451 for their next message; new ones don't.
MILTER = "chatmail-milter.service"

# The default of `chatmail_max_message_size`, and how much more nginx lets through.
_LARGEST, _FORM = 31_457_280, 1_048_576
_SAY_LARGEST = (
    "/etc/chatmail/chatmail.toml /etc/postfix/main.cf /etc/dovecot/dovecot.conf /etc/nginx/nginx.conf"
)
_ASIDE = ".before"
_ANEW = f"systemctl restart {_WEB} mxdeliv-relay && systemctl reload postfix dovecot nginx"


@contextmanager
def changed(host: LabHost, key: str, value: str, readers: str = _WEB) -> Iterator[None]:
    """Set the line `key = …`, which must be there once, for these units: hooks and web pages."""
    before = host.run(["cat", FILE]).stdout
    lines = before.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith(f"{key} =")]
    lines[place] = f"{key} = {value}"
    _write(host, "\n".join(lines) + "\n", readers)
    try:
        yield
    finally:
        _write(host, before, readers)


def _write(host: LabHost, text: str, readers: str) -> None:
    host.run(f"cat > {FILE} && systemctl restart {readers}", input=text)


@contextmanager
def larger_messages(hosts: Sequence[LabHost], octets: int) -> Iterator[None]:
    """Relays that take messages of so many octets, wherever the playbook writes how many."""
    change = f"s/{_LARGEST}/{octets}/g; s/{_LARGEST + _FORM}/{octets + _FORM}/g"
    for host in hosts:
        host.run(f"for file in {_SAY_LARGEST}; do sed -i{_ASIDE} '{change}' $file; done && {_ANEW}")
    try:
        yield
    finally:
        for host in hosts:
            host.run(f"for file in {_SAY_LARGEST}; do mv $file{_ASIDE} $file; done && {_ANEW}")
