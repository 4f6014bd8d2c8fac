"""Domains of the lab that sign their mail: a DKIM key each (RFC 6376), published in the lab's zone.

`mta.lab` has an OpenDKIM that signs. Of the others there is no host: whoever plays them signs with the key.
A key is there by any selector, so that one that nobody has asked for yet is in no resolver's memory.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.command import run
from tests.lab.plan import Paths
from tests.lab.zone import BROKEN

SELECTOR = "lab"
DOMAINS = ("mta.lab", "peer.lab", "news.peer.lab", "other.lab", BROKEN)

_STRING_MOST = 255  # RFC 1035, 3.3: octets of one string in a TXT record


def ensure(paths: Paths) -> None:
    """Make the keys that are missing, and the records file."""
    private_key(paths, DOMAINS[0]).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for domain in DOMAINS:
        key = private_key(paths, domain)
        if not key.exists():
            half = key.with_suffix(".half")
            run("openssl", "genrsa", "-out", half, "2048")
            half.rename(key)
    lines = [f"*._domainkey.{domain}. TXT {strings(record(paths, domain))}\n" for domain in DOMAINS]
    paths.signers_records.write_text("".join(lines), encoding="ascii")


def private_key(paths: Paths, domain: str) -> Path:
    """The domain's RSA key, PEM."""
    return paths.state / "dkim" / f"{domain}.private"


def record(paths: Paths, domain: str) -> str:
    """The key record (RFC 6376, 3.6.1)."""
    public = run("openssl", "rsa", "-in", private_key(paths, domain), "-pubout").stdout
    return "v=DKIM1; k=rsa; p=" + "".join(line for line in public.splitlines() if "-" not in line)


def strings(text: str) -> str:
    """`text` as the strings of a TXT record in a zone file."""
    pieces = (text[at : at + _STRING_MOST] for at in range(0, len(text), _STRING_MOST))
    return " ".join(f'"{piece}"' for piece in pieces)
