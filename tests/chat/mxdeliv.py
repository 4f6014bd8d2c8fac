"""`POST /mxdeliv` as peers send it (docs/wire.md, 2), and the answer as a value."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from tests.lab.host import LabHost

_TIMEOUT = 120.0


@dataclass(frozen=True)
class MxdelivAnswer:
    """HTTP status, first line of the body, header fields in any case, and the body as JSON if it is that."""

    status: int
    line: str
    headers: Mapping[str, str]
    json: Any


def post(
    host: LabHost, sender: str | None, recipients: Iterable[str], message: bytes, **fields: str
) -> MxdelivAnswer:
    """POST a message; `sender` None leaves X-Mail-From out. In `fields`, `_` stands for `-`."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    if sender is not None:
        headers["X-Mail-From"] = sender
    if named := ", ".join(recipients):
        headers["X-Mail-To"] = named
    return ask(host, "POST", headers, message)


def ask(host: LabHost, method: str, headers: dict[str, str], message: bytes = b"") -> MxdelivAnswer:
    """Any request to `/mxdeliv`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = requests.request(
            method,
            f"https://{host.ip}/mxdeliv",
            data=message,
            headers={"Host": host.domain} | headers,
            verify=False,  # noqa: S501  (the lab's own certificate)
            allow_redirects=False,
            timeout=_TIMEOUT,
        )
    json = answer.json() if answer.headers.get("Content-Type", "").startswith("application/json") else None
    return MxdelivAnswer(answer.status_code, answer.text.partition("\n")[0].strip(), answer.headers, json)
