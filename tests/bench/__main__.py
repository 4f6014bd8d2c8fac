"""`python -m tests.bench [--json] [BENCH…]`: measures, prints a table for each, and judges nothing.

Brings the lab up for the benches that need one, and takes it down again if it wasn't up; `KEEP=1` in the
environment leaves it. With `--json` the result goes to standard output and the progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tests.bench import (
    admin,
    cmping,
    dead,
    gate,
    idle,
    latency,
    memory,
    metrics,
    milters,
    notice,
    onboarding,
    policy,
    postfix,
    receiving,
    report,
    sending,
    start,
    storm,
    ten_thousand,
    throughput,
    webimap,
)
from tests.bench.context import BenchContext
from tests.bench.table import BenchTable
from tests.lab import LabError
from tests.lab.progress import Interrupted, console_for, finish_undisturbed, interrupt_on_sigterm, progress

BENCHES: Mapping[str, Callable[[BenchContext], Sequence[BenchTable]]] = MappingProxyType(
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
        "onboarding": onboarding.measure,
        "ten_thousand": ten_thousand.measure,
        "memory": memory.measure,
        "metrics": metrics.measure,
        "start": start.measure,
        "admin": admin.measure,
        "webimap": webimap.measure,
    }
)


def main() -> int:
    """Run the benches; the exit status, 0 whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("bench", nargs="*", help=f"which: {', '.join(BENCHES)}; all if none is named")
    arguments = parser.parse_args()
    chosen = arguments.bench or list(BENCHES)
    if unknown := set(chosen) - set(BENCHES):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    console = console_for(as_json=arguments.json)
    interrupt_on_sigterm()
    say = progress(console)
    context = BenchContext(say)
    tables: dict[str, Sequence[BenchTable]] = {}
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
        finish_undisturbed()
        if not os.environ.get("KEEP"):
            context.close()
        for table in (table for many in tables.values() for table in many):
            report.show(console, table)
    if arguments.json:
        print(json.dumps({name: [one.as_json() for one in many] for name, many in tables.items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
