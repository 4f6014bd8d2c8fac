"""`python -m tests.attacks [--json] [WORD…]`: attacks a relay of the lab while others use it.

Exits 0 only when nobody else was disturbed. Brings the lab up, and takes it down again if it wasn't up;
`KEEP=1` in the environment leaves it. With `--json` the result goes to standard output and the progress to
standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from time import time

from rich.markup import escape

from tests.attacks import report, trial
from tests.attacks.probes import People
from tests.attacks.table import ATTACKS
from tests.attacks.trial import Attack, AttackRow, AttackScene
from tests.chat import firewall, journal
from tests.lab import Lab, LabError
from tests.lab.progress import Interrupted, console_for, finish_undisturbed, interrupt_on_sigterm, progress

# Of the two relays, the one that is attacked: it has WebIMAP.
ATTACKED = "a"


def main() -> int:
    """Hold the trials; the exit status."""
    arguments, chosen = _arguments()
    console = console_for(as_json=arguments.json, width=200)
    interrupt_on_sigterm()
    # Attackers have thousands of connections.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    say = progress(console)
    lab = Lab()
    ours = any(host.state != "up" for host in lab.status())
    rows: list[AttackRow] = []
    try:
        lab.up(say)
        firewall.reopen(lab.host(ATTACKED))
        lab.host(ATTACKED).plug()
        say("the playbook deploys both relays")
        lab.deploy(say)
        scene = AttackScene(lab, lab.host(ATTACKED))
        people = People(lab, scene.host)
        for attack in chosen:
            rows.append(_hold(attack, scene, people, say))
        people.close()
    except (LabError, OSError, subprocess.SubprocessError) as error:
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
    say("nobody else was disturbed" if kept else "[red]others were disturbed[/]")
    return 0 if kept else 1


def _arguments() -> tuple[argparse.Namespace, list[Attack]]:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("word", nargs="*", help="words of an attack's name; all attacks if there are none")
    arguments = parser.parse_args()
    words = [word.lower() for word in arguments.word]
    chosen = [one for one in ATTACKS if not words or any(word in one.name.lower() for word in words)]
    if not chosen:
        parser.error(f"no such attack; there are: {', '.join(one.name for one in ATTACKS)}")
    return arguments, chosen


def _hold(attack: Attack, scene: AttackScene, people: People, say: Callable[[str], None]) -> AttackRow:
    say(attack.name)
    since = time()
    row = trial.hold(attack, scene, people)
    mark = "[red]✗[/]" if row.breaches else "[green]✓[/]"
    say(f"{mark} {escape(report.line(row))}")
    if row.breaches:
        say(f"  the end of {scene.host.domain}'s journal:\n{escape(journal.tail(scene.host, since))}")
    return row


if __name__ == "__main__":
    sys.exit(main())
