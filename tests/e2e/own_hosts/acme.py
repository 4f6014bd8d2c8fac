"""An ACME authority in the lab: pebble, where the clients are. It asks hosts on port 80."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.own_hosts import dynamic_dns
from tests.lab import Lab, ca
from tests.lab.command import WITH_US
from tests.lab.wait import until

NAME = "acme.lab"
PORT = 14000
DIRECTORY = f"https://{NAME}:{PORT}/dir"
ISSUER = "Pebble Intermediate"


@contextmanager
def authority(lab: Lab, place: Path) -> Iterator[None]:
    """It answers as long as the block runs. `place`: a directory for its files."""
    client = lab.host("client")
    certificate, key = ca.issue(lab.paths.ca, [NAME])
    config = {
        "listenAddress": f"0.0.0.0:{PORT}",
        "managementListenAddress": "",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": 80,
        "tlsPort": 443,
    }
    file = place / "pebble.json"
    file.write_text(json.dumps({"pebble": config}), encoding="utf-8")
    words = ["pebble", "-config", str(file), "-dnsserver", f"{client.ip}:{dynamic_dns.PORT}"]
    # By itself it waits before a check, refuses some sound nonces, and does not check again half of the names
    # that it knows.
    more = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    with (
        (place / "pebble.log").open("wb") as log,
        subprocess.Popen(
            [*WITH_US, *client.words(["env", *(f"{name}={value}" for name, value in more.items()), *words])],
            stdout=log,
            stderr=log,
        ) as pebble,
    ):
        try:
            until(lambda: _listens(client.ip), 30.0, f"read {log.name}: pebble does not listen")
            yield
        finally:
            pebble.terminate()


def _listens(address: str) -> bool:
    try:
        with socket.create_connection((address, PORT), timeout=1):
            return True
    except OSError:
        return False
