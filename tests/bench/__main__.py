"""`python -m tests.bench [--json] [BENCH…]`: measures, prints a table for each, and judges nothing.

Brings the lab up for the benches that need one, and takes it down again if it wasn't up; `KEEP=1` in the
environment leaves it. With `--json` the result goes to standard output and the progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from types import FrameType, MappingProxyType

from rich.console import Console

from tests.bench import (
    admin,
    cmping,
    dead,
    gate,
    idle,
    latency,
    memory,
    milters,
    notice,
    policy,
    postfix,
    receiving,
    report,
    sending,
    start,
    storm,
    ten_thousand,
    throughput,
)
from tests.bench.context import BenchContext
from tests.bench.table import Table
from tests.lab import LabError

BENCHES: Mapping[str, Callable[[BenchContext], Sequence[Table]]] = MappingProxyType(
    {
        "gate": gate.measure,
        "policy": policy.measure,
        "postfix": postfix.measure,
        "milters": milters.measure,
        "dead": dead.measure,
        "receiving": receiving.measure,
        "sending": sending.measure,
        "notice": notice.measure,
        "idle": idle.measure,
        "storm": storm.measure,
        "throughput": throughput.measure,
        "latency": latency.measure,
        "cmping": cmping.measure,
        "ten_thousand": ten_thousand.measure,
        "memory": memory.measure,
        "start": start.measure,
        "admin": admin.measure,
    }
)


class Interrupted(BaseException):
    """SIGTERM: clean up as Ctrl-C does."""


def main() -> int:
    """Run the benches; the exit status, 0 whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("bench", nargs="*", help=f"which: {', '.join(BENCHES)}; all if none is named")
    arguments = parser.parse_args()
    chosen = arguments.bench or list(BENCHES)
    if unknown := set(chosen) - set(BENCHES):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    console = Console(stderr=arguments.json, highlight=False, width=None if sys.stdout.isatty() else 160)
    signal.signal(signal.SIGTERM, _terminate)
    began = monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{monotonic() - began:6.1f} s[/]  {text}", soft_wrap=True)

    context = BenchContext(say)
    tables: dict[str, Sequence[Table]] = {}
    try:
        for name in chosen:
            say(f"bench {name}")
            tables[name] = BENCHES[name](context)
    except LabError as error:
        say(f"[red]{error}[/]")
        return 1
    except (KeyboardInterrupt, Interrupted):
        say("interrupted")
        return 130
    finally:
        # A second Ctrl-C must not leave half a lab.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not os.environ.get("KEEP"):
            context.close()
        for table in (table for many in tables.values() for table in many):
            report.show(console, table)
    if arguments.json:
        print(json.dumps({name: [one.as_json() for one in many] for name, many in tables.items()}, indent=2))
    return 0


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted


if __name__ == "__main__":
    sys.exit(main())
