"""Whole messages as other programs write them, or nearly, and the verdict on each (docs/gate.md, 1 and 3).

The files were made by hand with made-up keys and words; the names say after which program or rule.
"""

from __future__ import annotations

from pathlib import Path

FILES = Path(__file__).with_name("cases")

# Codes of the reply: coming in, and going out.
WRITTEN_BY_ALICE = {
    "01-thunderbird-preamble": (250, 250),
    "03-armor-charset": (250, 523),
    "06-qp-armor": (250, 523),
    "08-version-part-qp": (250, 523),
    "12-version-lowercase": (250, 523),
    "13-version-nospace": (250, 523),
    "18-x-part-header-underscore": (250, 250),
    # RFC 9580, 10.3: nothing comes after the SEIPD, Padding neither; no program puts it there.
    "45-padding-after": (523, 523),
    "46-unknown-noncritical-packet": (250, 523),
    "47-pkesk-v2": (523, 523),
    "50-ct-unquoted-protocol": (250, 523),
    "54-ct-comment": (250, 523),
    "55-ct-rfc2231-boundary": (250, 523),
    "86-part-cte-comment": (250, 523),
    "A0-autocrypt-one-line": (250, 250),
}
# Delivery reports, with their authors; from the null sender.
REPORTS = {
    "31-dsn-exchange-online": "postmaster@b.example",
    "32-dsn-chasquid": "postmaster-dsn@b.example",
    "35-dsn-courier": "postmaster@b.example",
}


def octets(name: str) -> bytes:
    """The message in the file of that name."""
    return (FILES / f"{name}.eml").read_bytes()
