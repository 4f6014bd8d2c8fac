"""Running other programs: short ones for their output, long ones with signs of life."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab.errors import LabError

Progress = Callable[[str], None]
# A program that ends when the one that started it does, so that an interrupted command leaves none behind;
# the second also takes all that it started, and all that it mounted, with it.
WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
SEALED = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
SIGN_OF_LIFE = 10.0  # seconds between lines that say that a long step still runs


def run(*argv: str | Path, input: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a short program; LabError with the last line it said when it fails."""
    done = subprocess.run(
        [str(word) for word in argv],
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
        raise LabError(f"look into `{' '.join(map(str, argv))}`: {said}")
    return done


def run_long(argv: Sequence[str], log: Path, progress: Progress, env: dict[str, str] | None = None) -> None:
    """Run a program that takes long: all it says goes to `log`, now and then a line of it to `progress`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    spoke = time.monotonic()
    last = ""
    with (
        log.open("a", encoding="utf-8", errors="replace") as file,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            last = line.strip() or last
            if time.monotonic() - spoke > SIGN_OF_LIFE:
                spoke = time.monotonic()
                progress(f"… {last[:100]}")
    if process.returncode:
        raise LabError(f"read {log}: `{argv[0]}` ended with {process.returncode}: {last}")
