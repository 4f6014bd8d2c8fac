"""Carol of mta.lab, an ordinary mail server: what lies in her Maildir."""

from __future__ import annotations

from tests.lab.host import LabHost

CAROL = "carol@mta.lab"


def find(mta: LabHost, message_id: str) -> bytes | None:
    """The message with this Message-ID as it lies there, its lines with CRLF, or None."""
    found = f"grep --files-with-matches --recursive '{message_id}' /home/carol/Maildir/new"
    file = mta.run(found, check=False).stdout.strip()
    return "\r\n".join([*mta.run(["cat", file]).stdout.splitlines(), ""]).encode() if file else None
