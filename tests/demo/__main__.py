"""`python -m tests.demo [--json]`: lab up, two relays deployed, every story played, a table, lab down.

Exits 0 only when everything happened. `KEEP=1` in the environment leaves the lab up. With `--json` the
result goes to standard output and the progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from time import monotonic, time

from rich.markup import escape

from tests.chat import firewall, journal
from tests.chat.core import Core
from tests.chat.deadline import deadline
from tests.chat.stage import Stage
from tests.demo import report
from tests.demo.outcome import SeenByStory, StoryOutcome
from tests.demo.stories import STORIES, Cast, Story
from tests.lab import Lab, LabError
from tests.lab.progress import Interrupted, console_for, finish_undisturbed, interrupt_on_sigterm, progress

LOOK_INSIDE = """\
The lab stays up (KEEP=1). To look inside:
  python -m tests.lab status
  python -m tests.lab shell a        a root shell on _a.lab; b and mta likewise
    journalctl -f                    what its services do
    chatmailctl peers                who was reached by which road
    chatmailctl queue                what waits
  python -m tests.lab down           when you are done"""


def main() -> int:
    """Run the demo; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    as_json = parser.parse_args().json
    console = console_for(as_json=as_json)
    interrupt_on_sigterm()
    say = progress(console)
    lab = Lab()
    try:
        outcomes = _perform(lab, say)
    except LabError as error:
        say(f"[red]{error}[/]")
        return 1
    except (KeyboardInterrupt, Interrupted):
        say("interrupted")
        return 130
    finally:
        if os.environ.get("KEEP"):
            console.print(LOOK_INSIDE)
        else:
            finish_undisturbed()
            say("taking the lab down")
            lab.down(say)
    report.show(console, outcomes)
    complete = len(outcomes) == len(STORIES) and not any(one.failure for one in outcomes)
    if as_json:
        print(json.dumps({"ok": complete, "stories": [one.as_json() for one in outcomes]}, indent=2))
    say("everything happened" if complete else "[red]not everything happened[/]")
    return 0 if complete else 1


def _perform(lab: Lab, say: Callable[[str], None]) -> list[StoryOutcome]:
    lab.up(say)
    for name in ("a", "b"):
        firewall.reopen(lab.host(name))
    say("the playbook deploys both relays")
    lab.deploy(say)
    outcomes = []
    with Core(lab.netns("client")) as core:
        say(f"Delta Chat core {core.version}")
        cast = Cast(Stage(lab, core))
        for story in STORIES:
            outcome = _play(story, cast, say)
            outcomes.append(outcome)
            if outcome.failure and story.needed:
                break
    return outcomes


def _play(story: Story, cast: Cast, say: Callable[[str], None]) -> StoryOutcome:
    began, since = monotonic(), time()
    try:
        with deadline(story.title, story.seconds):
            seen = story.play(cast)
    except Exception as error:
        # Whatever went wrong, the other stories are played, and this one is shown as failed.
        failure = f"{type(error).__name__}: {error}"
        say(f"[red]✗[/] {story.title}: {escape(failure)}")
        for host in (cast.a, cast.b, cast.mta):
            say(f"  the end of {host.domain}'s journal:\n{escape(journal.tail(host, since))}")
        return StoryOutcome(story.title, monotonic() - began, SeenByStory(""), failure)
    say(f"[green]✓[/] {story.title}{f' by {seen.road}' if seen.road else ''}: {escape(seen.words)}")
    return StoryOutcome(story.title, monotonic() - began, seen)


if __name__ == "__main__":
    sys.exit(main())
