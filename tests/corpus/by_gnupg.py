"""Samples by GnuPG: legacy packet headers, partial lengths, and the modes of it that nobody may send.

Keys live in a directory of their own that goes away; the agent that GnuPG starts there is ended.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.corpus.manifest import ALICE, BOB, CAROL, ENCRYPTED, NONE
from tests.corpus.wrapped import TEXT, Made, SampleFolder

# name: what, what gpg is told, how large a file is encrypted (0: the text). Armored, in PGP/MIME; they pass.
_ENCRYPTED = {
    "curve25519": ("one recipient, Curve25519", f"-e -r {ALICE}", 0),
    "rsa": ("one recipient, RSA: a two-octet legacy length", f"-e -r {BOB}", 0),
    "three-recipients": ("three recipients", f"-e -r {ALICE} -r {BOB} -r {CAROL}", 0),
    "hidden-recipient": ("one recipient in sight, one hidden", f"-e -r {ALICE} -R {BOB}", 0),
    "throw-keyids": ("key IDs left out", f"--throw-keyids -e -r {ALICE} -r {BOB}", 0),
    "symmetric": ("a passphrase alone", "-c", 0),
    "symmetric-and-key": ("a passphrase and a recipient", f"-c -e -r {ALICE}", 0),
    "symmetric-old-s2k": ("a passphrase, simple S2K, 3DES", "--s2k-mode 0 --cipher-algo 3DES -c", 0),
    "signed-and-encrypted": ("signed inside", f"-s -u {ALICE} -e -r {BOB}", 0),
    "uncompressed": ("no compression inside", f"-z 0 -e -r {ALICE}", 0),
    "compress-zip": ("ZIP inside", f"--compress-algo zip -e -r {ALICE}", 0),
    "compress-bzip2": ("BZip2 inside", f"--compress-algo bzip2 -e -r {ALICE}", 0),
    "rfc4880": ("as RFC 4880 has it", f"--rfc4880 -e -r {ALICE}", 0),
    "textmode": ("canonical text inside", f"-t -e -r {ALICE}", 0),
    "partial": ("a file of 30 kB: partial lengths", f"-e -r {ALICE}", 30_000),
    "large": ("a file of 5 MB: partial lengths", f"-e -r {ALICE}", 5_000_000),
}
# The same, and must not pass: readable, or without the protection of its integrity.
_REFUSED = {
    "signed": ("signed and compressed, armored as a message", f"-s -u {ALICE}", 0),
    "signed-uncompressed": ("signed, the text as it is", f"-z 0 -s -u {ALICE}", 0),
    "store": ("a literal packet, compressed", "--store", 0),
    "store-uncompressed": ("a literal packet", "-z 0 --store", 0),
    "store-partial": ("a literal packet with partial lengths", "-z 0 --store", 20_000),
    "sed-rfc2440": ("SED, the obsolete packet without MDC", f"--rfc2440 -e -r {ALICE}", 0),
    "sed-symmetric": ("SED under a passphrase", "--rfc2440 -c", 0),
    "detached-signature": ("a detached signature where the ciphertext belongs", f"-b -u {ALICE}", 0),
    "clearsigned": (
        "cleartext signature framework where the ciphertext belongs",
        f"--clearsign -u {ALICE}",
        0,
    ),
}


def make() -> Iterator[Made]:
    """All samples. Raises `FileNotFoundError` where there is no gpg."""
    with _home() as home:
        gpg = _Gpg(home)
        gpg.generate(ALICE, "future-default")
        gpg.generate(BOB, "rsa3072")
        gpg.generate(CAROL, "future-default")
        room = SampleFolder("gnupg", gpg.version)
        for name, (about, options, size) in _ENCRYPTED.items():
            room.armored(name, about, gpg.run(f"-a {options}", _input(size)))
        for name, (about, options, size) in _REFUSED.items():
            room.refused(name, about, gpg.run(f"-a {options}", _input(size)))
        _special(room, gpg)
        yield from room.made


def _special(room: SampleFolder, gpg: _Gpg) -> None:
    to_alice = f"-e -r {ALICE}"
    commented = gpg.run(f"-a --emit-version --comment Hello {to_alice}", TEXT)
    room.armored(
        "version-and-comment", "armor headers, which only peers may write", commented, NONE, ENCRYPTED
    )
    room.binary("no-armor", "packets as they are", gpg.run(f"--no-armor {to_alice}", TEXT))
    room.binary("no-armor-signed", "a signed text as it is", gpg.run(f"--no-armor -z 0 -s -u {ALICE}", TEXT))
    room.base64("no-armor-base64", "packets in Base64", gpg.run(f"--no-armor {to_alice}", TEXT))
    room.base64("armor-base64", "armor in Base64", gpg.run(f"-a {to_alice}", TEXT).replace(b"\n", b"\r\n"))
    room.base64("store-base64", "a literal packet in Base64", gpg.run("--no-armor -z 0 --store", TEXT), NONE)
    room.text("inline", "ciphertext in a plain text, without MIME", gpg.run(f"-a {to_alice}", TEXT))
    room.text("inline-clearsigned", "a signed plain text", gpg.run(f"--clearsign -u {ALICE}", TEXT))
    room.refused("public-key", "a key where the ciphertext belongs", gpg.run(f"-a --export {ALICE}", b""))
    sealed = gpg.run(f"--no-armor {to_alice}", TEXT)
    stored = gpg.run("--no-armor -z 0 --store", TEXT)
    room.refused("encrypted-then-store", "a literal packet after the SEIPD", gpg.armor(sealed + stored))
    room.refused("store-then-encrypted", "a literal packet before the PKESK", gpg.armor(stored + sealed))
    room.refused("encrypted-twice", "two messages in one armor", gpg.armor(sealed + sealed))
    two = gpg.run(f"-a {to_alice}", TEXT) + gpg.run("-a -z 0 --store", TEXT)
    room.refused("two-armors", "a readable armor after the encrypted one", two)


def _input(size: int) -> bytes:
    """Nothing that compression makes shorter."""
    return random.Random(size).randbytes(size) if size else TEXT  # noqa: S311 (it hides nothing)


class _Gpg:
    """gpg with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._command = [
            "gpg", "--homedir", str(home), "--batch", "--no-options", "--quiet", "--yes",
            "--pinentry-mode", "loopback", "--passphrase", "secret", "--trust-model", "always",
        ]  # fmt: skip

    @property
    def version(self) -> str:
        first = self.run("--version", b"").decode().splitlines()[0]
        return f"GnuPG {first.split()[-1]}"

    def generate(self, address: str, algorithm: str) -> None:
        usage = ["default"] if algorithm == "future-default" else ["encr,sign,cert"]
        self._run([*self._command, "--quick-gen-key", address, algorithm, *usage], b"")

    def run(self, options: str, octets: bytes) -> bytes:
        """What gpg writes when it is given `octets`."""
        return self._run([*self._command, *options.split()], octets)

    def armor(self, octets: bytes) -> bytes:
        """gpg's own armor of any octets."""
        return (
            self.run("--enarmor", octets)
            .replace(b"PGP ARMORED FILE", b"PGP MESSAGE")
            .replace(b'Comment: Use "gpg --dearmor" for unpacking\n', b"")
        )

    def _run(self, command: list[str], octets: bytes) -> bytes:
        done = subprocess.run(command, input=octets, capture_output=True, check=False, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
        return done.stdout


@contextmanager
def _home() -> Iterator[Path]:
    # The agent's socket needs a short path.
    home = Path(tempfile.mkdtemp(prefix="gpg"))
    try:
        yield home
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=120)
        shutil.rmtree(home)
