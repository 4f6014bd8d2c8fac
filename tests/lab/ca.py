"""The lab's certificate authority, which all its hosts trust; made with openssl, gone with the lab."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.lab.command import run

DAYS = "3650"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def ensure(directory: Path) -> Path:
    """The root certificate; its key stays beside it."""
    root = directory / "root.crt"
    if not root.exists():
        half = directory.with_name(directory.name + ".half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True, mode=0o700)
        run("openssl", "req", "-x509", *NEW_KEY, "-days", DAYS, "-subj", "/CN=Chatmail lab CA",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", half / "root.key", "-out", half / "root.crt")  # fmt: skip
        half.rename(directory)
    return root


def issue(directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Certificate, with its chain, and key for these DNS names, made anew; the first names the files."""
    key, request, certificate = (directory / f"{names[0]}.{end}" for end in ("key", "csr", "crt"))
    alternatives = ",".join(f"DNS:{name}" for name in names)
    run("openssl", "req", "-new", *NEW_KEY, "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request,
        "-addext", f"subjectAltName={alternatives}")  # fmt: skip
    run("openssl", "x509", "-req", "-in", request, "-days", DAYS, "-copy_extensions", "copy",
        "-CA", directory / "root.crt", "-CAkey", directory / "root.key", "-out", certificate)  # fmt: skip
    chain = certificate.read_text(encoding="ascii") + (directory / "root.crt").read_text(encoding="ascii")
    certificate.write_text(chain, encoding="ascii")
    return certificate, key


def self_signed(directory: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key for a DNS name that nobody vouches for."""
    key, certificate = (directory / f"{name}.self-signed.{end}" for end in ("key", "crt"))
    run("openssl", "req", "-x509", *NEW_KEY, "-days", DAYS, "-subj", f"/CN={name}",
        "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate)  # fmt: skip
    return certificate, key


def trust(host_root: Path, certificate: Path) -> None:
    """Do in a host's root directory what update-ca-certificates(8) would, in milliseconds."""
    text = certificate.read_text(encoding="ascii")
    local = host_root / "usr/local/share/ca-certificates"
    local.mkdir(parents=True, exist_ok=True)
    (local / "chatmail-lab.crt").write_text(text, encoding="ascii")
    bundle = host_root / "etc/ssl/certs/ca-certificates.crt"
    known = bundle.read_text(encoding="ascii")
    if text not in known:
        bundle.write_text(known + text, encoding="ascii")
    digest = run("openssl", "x509", "-noout", "-subject_hash", "-in", certificate).stdout.strip()
    link = bundle.with_name(f"{digest}.0")
    link.unlink(missing_ok=True)
    link.symlink_to("/usr/local/share/ca-certificates/chatmail-lab.crt")
