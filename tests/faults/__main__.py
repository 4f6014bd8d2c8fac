"""`python -m tests.faults [--json] [--messages N] [CAUSE…]`: breaks a relay while mail flows, and counts.

Exits 0 only when every promise was kept. Brings the lab up, and takes it down again if it wasn't up;
`KEEP=1` in the environment leaves it. With `--json` the result goes to standard output and the progress to
standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from time import time

from rich.markup import escape

from tests.chat import firewall, journal
from tests.faults import report, trial
from tests.faults.arrangement import Arrangement, arranged
from tests.faults.causes import CAUSES
from tests.faults.trial import FaultCause, FaultRow
from tests.lab import Lab, LabError
from tests.lab.progress import Interrupted, console_for, finish_undisturbed, interrupt_on_sigterm, progress


def main() -> int:
    """Hold the trials; the exit status."""
    arguments, chosen = _arguments()
    console = console_for(as_json=arguments.json)
    interrupt_on_sigterm()
    say = progress(console)
    lab = Lab()
    ours = any(host.state != "up" for host in lab.status())
    rows: list[FaultRow] = []
    try:
        lab.up(say)
        for name in ("a", "b"):
            firewall.reopen(lab.host(name))
            lab.host(name).plug()
        say("the playbook deploys both relays")
        lab.deploy(say)
        say("ten domains more for each, and their users")
        with arranged(lab) as arrangement:
            for cause in chosen:
                rows.append(_hold(cause, arrangement, arguments.messages, say))
    except (LabError, subprocess.SubprocessError) as error:
        # What was found so far is shown all the same.
        say(f"[red]{escape(str(error))}[/]")
    except (KeyboardInterrupt, Interrupted):
        say("interrupted")
        return 130
    finally:
        finish_undisturbed()
        if ours and not os.environ.get("KEEP"):
            say("taking the lab down")
            lab.down(say)
    report.show(console, rows)
    kept = len(rows) == len(chosen) and not any(row.breaches for row in rows)
    if arguments.json:
        print(json.dumps({"ok": kept, "rows": [row.as_json() for row in rows]}, indent=2))
    say("every promise was kept" if kept else "[red]not every promise was kept[/]")
    return 0 if kept else 1


def _arguments() -> tuple[argparse.Namespace, list[FaultCause]]:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--messages", type=int, default=trial.MESSAGES, help="how many for each cause")
    parser.add_argument("cause", nargs="*", help="words of a cause's name; all causes if there are none")
    arguments = parser.parse_args()
    words = [word.lower() for word in arguments.cause]
    chosen = [one for one in CAUSES if not words or any(word in one.name.lower() for word in words)]
    if not chosen:
        parser.error(f"no such cause; there are: {', '.join(one.name for one in CAUSES)}")
    return arguments, chosen


def _hold(cause: FaultCause, arrangement: Arrangement, count: int, say: Callable[[str], None]) -> FaultRow:
    say(cause.name)
    since = time()
    row = trial.hold(cause, arrangement, count)
    mark = "[red]✗[/]" if row.breaches else "[green]✓[/]"
    say(f"{mark} {escape(report.line(row))}")
    if row.breaches:
        for host in arrangement.hosts:
            say(f"  the end of {host.domain}'s journal:\n{escape(journal.tail(host, since))}")
    return row


if __name__ == "__main__":
    sys.exit(main())
