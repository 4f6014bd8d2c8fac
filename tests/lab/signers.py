"""Domains of the lab that sign their mail: a DKIM key each (RFC 6376), published in the lab's zone.

`mta.lab` has an OpenDKIM that signs. Of the others there is no host: whoever plays them signs with the key. A
key is there by any selector, so that one that nobody has asked for yet is in no resolver's memory. Of
`peer.lab` some selectors are special: see `ODD_SELECTORS`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from tests.lab.command import run
from tests.lab.files import write_whole
from tests.lab.plan import Paths
from tests.lab.zone import BROKEN

SELECTOR = "lab"
DOMAINS = ("mta.lab", "peer.lab", "news.peer.lab", "other.lab", BROKEN)

# Selectors of peer.lab whose record is not the usual one, all for its RSA key unless they say otherwise: in
# RSAPublicKey form (RFC 6376, 3.6.1), no record, two records, a revoked key, a key for Ed25519 (RFC 8463).
PKCS1, ABSENT, TWICE, REVOKED, ED25519 = ODD_SELECTORS = ("pkcs1", "absent", "twice", "revoked", "ed25519")

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
    lines += [f"{odd}._domainkey.peer.lab. {text}\n" for odd, text in _odd_records(paths)]
    write_whole(paths.signers_records, "".join(lines))


def private_key(paths: Paths, domain: str) -> Path:
    """The domain's RSA key, PEM."""
    return paths.state / "dkim" / f"{domain}.private"


def record(paths: Paths, domain: str) -> str:
    """The key record (RFC 6376, 3.6.1)."""
    public = run("openssl", "rsa", "-in", private_key(paths, domain), "-pubout").stdout
    return "v=DKIM1; k=rsa; p=" + "".join(line for line in public.splitlines() if "-" not in line)


def ed25519_key(paths: Paths) -> Path:
    """The Ed25519 key of peer.lab, PEM (PKCS #8)."""
    return paths.state / "dkim" / "peer.lab.ed25519"


def _odd_records(paths: Paths) -> Iterator[tuple[str, str]]:
    key, small = private_key(paths, "peer.lab"), ed25519_key(paths)
    if not small.exists():
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", small)
    bare = run("openssl", "rsa", "-in", key, "-RSAPublicKey_out").stdout
    text = "v=DKIM1; k=rsa; p=" + "".join(line for line in bare.splitlines() if "-" not in line)
    yield PKCS1, f"TXT {strings(text)}"
    # The wildcard is for names that aren't there; this one is, without a key.
    yield ABSENT, "A 127.0.0.1"
    yield TWICE, f"TXT {strings(record(paths, 'peer.lab'))}"
    yield TWICE, f"TXT {strings(record(paths, 'other.lab'))}"
    yield REVOKED, 'TXT "v=DKIM1; k=rsa; p="'
    public = "".join(run("openssl", "pkey", "-in", small, "-pubout").stdout.splitlines()[1:-1])
    # The last 32 octets of a SubjectPublicKeyInfo are the key itself (RFC 8410, 4).
    raw = base64.b64encode(base64.b64decode(public)[-32:]).decode()
    yield ED25519, f'TXT "v=DKIM1; k=ed25519; p={raw}"'


def strings(text: str) -> str:
    """`text` as the strings of a TXT record in a zone file."""
    pieces = (text[at : at + _STRING_MOST] for at in range(0, len(text), _STRING_MOST))
    return " ".join(f'"{piece}"' for piece in pieces)
