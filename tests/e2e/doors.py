"""Port 25 and `/mxdeliv` behind one interface: a peer gets the same reply from both (docs/wire.md, 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.chat import mxdeliv, smtp
from tests.lab.host import LabHost

# Host, envelope sender, recipients, message: the SMTP reply line.
Door = Callable[[LabHost, str, Sequence[str], bytes], str]

# The HTTP status that goes with a reply.
STATUS = {
    "250 2.0.0": 200,
    "523 5.7.1": 403,
    "554 5.7.1": 403,
    "550 5.7.1": 403,
    "550 5.1.1": 422,
    "552 5.2.2": 507,
    "552 5.3.4": 413,
}


def port_25(host: LabHost, sender: str, recipients: Sequence[str], message: bytes) -> str:
    """As an SMTP server delivers."""
    return smtp.deliver(host.ip, sender, recipients, message).line


def https(host: LabHost, sender: str, recipients: Sequence[str], message: bytes) -> str:
    """As a chatmail relay delivers; the first line of the body."""
    answer = mxdeliv.post(host, sender, recipients, message)
    expected = 503 if answer.line.startswith("4") else STATUS.get(answer.line[:9], 400)
    assert answer.status == expected, answer
    assert answer.status != 503 or int(answer.headers["Retry-After"]) > 0
    return answer.line


DOORS = (port_25, https)
