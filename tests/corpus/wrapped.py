"""Ciphertext put into PGP/MIME (RFC 3156), or wherever else people put it."""

from __future__ import annotations

import base64
import textwrap

from tests import messages
from tests.corpus.manifest import ALICE, BOB, ENCRYPTED, NONE, Sample

Made = tuple[Sample, bytes]

# What every program but the chat core encrypts.
TEXT = b"What only the recipient may read.\n"


class SampleFolder:
    """Makes the samples of one program: `name` is their folder, `producer` the program and its version."""

    def __init__(self, name: str, producer: str) -> None:
        self.made: list[Made] = []
        self._name = name
        self._producer = producer

    def keep(self, name: str, about: str, octets: bytes, outgoing: str, incoming: str) -> None:
        """A whole message from Alice to Bob."""
        path = f"{self._name}/{name}"
        self.made.append((Sample(path, self._producer, about, outgoing, incoming, ALICE, (BOB,)), octets))

    def armored(
        self, name: str, about: str, armor: bytes, outgoing: str = ENCRYPTED, incoming: str = ENCRYPTED
    ) -> None:
        """Armored text as the second part of PGP/MIME."""
        text = armor.decode().replace("\r\n", "\n").replace("\n", "\r\n")
        self.keep(name, about, messages.encrypted(text, sender=ALICE), outgoing, incoming)

    def refused(self, name: str, about: str, armor: bytes) -> None:
        """The same, of what must not pass."""
        self.armored(name, about, armor, NONE, NONE)

    def binary(self, name: str, about: str, octets: bytes) -> None:
        """Packets as they are in the second part: no mail program sends that, and text could be framed so."""
        body = messages.encrypted(octets.decode("latin-1"), sender=ALICE)
        # `messages` writes UTF-8; these octets are to stay one each.
        self.keep(name, about, body.decode().encode("latin-1"), NONE, NONE)

    def base64(self, name: str, about: str, octets: bytes, incoming: str = ENCRYPTED) -> None:
        """Packets or armor in the transfer encoding Base64, which only peers may use."""
        lines = textwrap.wrap(base64.b64encode(octets).decode(), 76)
        part = messages.encrypted_part("\r\n".join(lines), "Content-Transfer-Encoding: base64")
        self.keep(name, about, _pgp_mime(part), NONE, incoming)

    def text(self, name: str, about: str, text: bytes) -> None:
        """Octets as the text of a plain message: readable or not, no chat client sends that."""
        body = text.decode("latin-1").replace("\r\n", "\n").replace("\n", "\r\n")
        fields = [*messages.envelope_fields(ALICE), ("Content-Type", "text/plain; charset=utf-8")]
        self.keep(name, about, messages.message(fields, body), NONE, NONE)


def _pgp_mime(part: str) -> bytes:
    typed = f'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="{messages.BOUNDARY}"'
    fields = [*messages.envelope_fields(ALICE), ("Content-Type", typed)]
    return messages.message(fields, messages.multipart([messages.VERSION_PART, part]))
