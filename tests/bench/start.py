"""What it costs to start `chatmailctl`, beside Python with click alone: CPU time of whole processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from tests.bench.context import BenchContext
from tests.bench.rounds import interleaved
from tests.bench.table import RATIOS, BenchTable, Measured, ratio

ROUNDS = 15
CHATMAILCTL = str(Path(sys.executable).with_name("chatmailctl"))
CASES = {
    "click": [sys.executable, "-c", "import click"],
    "--version": [CHATMAILCTL, "--version"],
    "--help": [CHATMAILCTL, "--help"],
    "peers": [CHATMAILCTL, "peers"],
}


def measure(context: BenchContext) -> Sequence[BenchTable]:
    context.say(f"{ROUNDS} rounds of {len(CASES)} processes")
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "store.sqlite"
        store.touch()
        engine = open_store(f"sqlite:///{store}")
        Peers(engine).add([Contact("b.test", "https", True, 0.02, None, datetime.now(UTC))])
        engine.dispose()
        config = Path(directory) / "chatmail.toml"
        config.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "sqlite:///{store}"\n')
        environment = os.environ | {"CHATMAIL_CONFIG": str(config)}
        runs = {name: partial(cpu, words, environment) for name, words in CASES.items()}
        for run in runs.values():
            run()  # what is compiled and cached once
        times = {name: Measured.of(found) for name, found in interleaved(runs, ROUNDS).items()}
    rows = [
        ratio(f"chatmailctl {name} / import click", times[name], times["click"], promised, "ms of CPU")
        for name, promised in (("--version", "≤ 2"), ("--help", "≤ 1.5"), ("peers", "≤ 2.5"))
    ]
    return (BenchTable("Starting chatmailctl", RATIOS, rows, f"{ROUNDS} rounds by turns, in one venv."),)


def cpu(words: Sequence[str], environment: dict[str, str]) -> float:
    """Milliseconds of CPU of one process, from its beginning to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000
