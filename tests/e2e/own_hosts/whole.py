"""A host that a module boots, deployed by site.yml as a whole relay, with what its operator chose."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509

from tests.chat.smtp import any_certificate
from tests.lab import Lab, ansible, inventory
from tests.lab.deployment import PLAYBOOK
from tests.lab.host import LabHost

SECONDS = 60.0
TLS_PORTS = (443, 465, 993)


def deploy(
    lab: Lab, host: LabHost, *options: str, of: Path | str = PLAYBOOK, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run a playbook on it, site.yml by default."""
    return ansible.play(of, _inventory(lab, host), *options, **variables)


def begin(lab: Lab, host: LabHost, before: str, **variables: Any) -> bool:
    """Run site.yml on it, and kill it as it comes to the task `before`. Whether it came so far."""
    return ansible.cut(PLAYBOOK, _inventory(lab, host), before=before, **variables)


def _inventory(lab: Lab, host: LabHost) -> Path:
    of_host = {
        "ansible_host": host.ip,
        "dns_records_ipv4": host.ip,
        "chatmail_dns_records_file": str(lab.paths.run / f"{host.domain}.zone"),
    }
    shared = inventory.shared_variables(lab.paths)
    tree = {inventory.GROUP: {"hosts": {host.domain: of_host}, "vars": shared}}
    file = lab.paths.run / f"{host.domain}.json"
    file.write_text(json.dumps(tree), encoding="utf-8")
    return file


def certificates(host: LabHost) -> list[x509.Certificate]:
    """What clients are shown: on each port with TLS from the start, and on 25 after STARTTLS."""
    found = []
    for port in TLS_PORTS:
        with (
            socket.create_connection((host.ip, port), SECONDS) as plain,
            any_certificate().wrap_socket(plain, server_hostname=host.domain) as session,
        ):
            found.append(_shown(session))
    with smtplib.SMTP(host.ip, 25, timeout=SECONDS) as smtp:
        smtp.starttls(context=any_certificate())
        found.append(_shown(smtp.sock))
    return found


def _shown(session: socket.socket | None) -> x509.Certificate:
    assert isinstance(session, ssl.SSLSocket)
    return x509.load_der_x509_certificate(session.getpeercert(binary_form=True) or b"")
