"""Builds the package's private virtual environment from the wheelhouse, without a network.

It contains libraries of which Debian has too old versions. Left out are traces of the build (paths,
times), pip, headers, and programs that nothing of ours starts. dpkg has the files' checksums, so pip's
records are left out, too. Byte code is compiled on the host (py3compile), as for every Python package of
Debian.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from deb.units import HOME

INTERPRETER = "/usr/bin/python3"
# Started by units.
FOREIGN = ("gunicorn",)
# Where the first line would be longer than 127 octets, pip lets a shell start Python, in two lines more.
INTERPRETER_LINES = re.compile(r"\A#!.*\n('''exec' .*\n' '''\n)?")
RECORDS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def install(root: Path, wheelhouse: Path, ours: set[str]) -> None:
    """Fills `root`/HOME. `ours`: the console scripts to keep. Raises `CalledProcessError`."""
    home = root / HOME.strip("/")
    run(INTERPRETER, "-m", "venv", "--without-pip", str(home))
    run(
        sys.executable, "-m", "pip", "--python", str(home / "bin/python3"), "install",
        "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-compile", "--no-index", "--no-deps",
        f"--find-links={wheelhouse}", "--require-hashes", f"--requirement={wheelhouse / 'requirements.txt'}",
    )  # fmt: skip
    clean(home, ours)
    for library in home.rglob("*.so*"):
        # Wheels bring symbols for debuggers along. The one that is built here may name the libraries of a
        # Python that is not Debian's, where it is to look first.
        run("strip", "--strip-unneeded", str(library))
        if library.name.startswith("milter."):
            run("chrpath", "--delete", str(library))


def clean(home: Path, ours: set[str]) -> None:
    """Removes traces of this machine, and unused files."""
    for place in ("include", "share"):
        shutil.rmtree(home / place)
    (home / "lib64").unlink(missing_ok=True)
    # Python 3.13 makes one.
    (home / ".gitignore").unlink(missing_ok=True)
    (home / "bin/python3").unlink()
    (home / "bin/python3").symlink_to("../../../bin/python3")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n", "utf-8")
    for program in (home / "bin").iterdir():
        if program.name in ours or program.name in FOREIGN:
            code = INTERPRETER_LINES.sub("", program.read_text("utf-8"))
            program.write_text(f"#!{HOME}/bin/python3\n{code}", "utf-8")
        elif not program.is_symlink():
            program.unlink()
    for module in home.rglob("*.py"):
        # Imported, never started; and there is no `python` in Debian.
        text = module.read_bytes()
        if text.startswith(b"#!"):
            module.write_bytes(text.partition(b"\n")[2])
    for record in [path for name in RECORDS for path in home.rglob(f"*.dist-info/{name}")]:
        record.unlink()


def run(*words: str) -> None:
    subprocess.run(words, check=True)  # noqa: S603  (our own words, no shell)
