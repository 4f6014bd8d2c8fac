"""`chatmail-orders`: executes one order of the admin pages as root. systemd starts one per connection.

Only the pages' user can connect. The program reads one line of JSON, `{"order": NAME, "values": {…}}`,
converts it to arguments of `chatmailctl` by a closed list, and runs that in this process. The answer is a
line of JSON, too: `status` (an exit status), `out` and `err`; or `field` and `why` for an invalid value.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any, BinaryIO

import click

from mxdeliv_app.admin import orders

LONGEST = 16384  # octets of a question


@click.command()
def main() -> None:
    """Execute one order of the admin pages.

    systemd starts this program for each connection to its socket (chatmail-orders@.service). It reads a line
    of JSON from standard input, and writes one to standard output.
    """
    answer(sys.stdin.buffer, sys.stdout.buffer)


def answer(asked: BinaryIO, to: BinaryIO) -> None:
    """The answer to one line."""
    to.write(json.dumps(_answer(asked.readline(LONGEST))).encode("ascii") + b"\n")
    to.flush()


def _answer(line: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        name, given = asked["order"], asked["values"]
        if not all(isinstance(one, str) for one in (name, *given, *given.values())):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"status": 64, "out": "", "err": "ask with an order and its values"}
    try:
        words = orders.words(name, given)
    except orders.UnknownOrderError:
        return {"status": 64, "out": "", "err": "there is no such order"}
    except orders.ValueOfFieldError as error:
        return {"field": error.field, "why": str(error)}
    # No address, and no name: these are the command's own words.
    print(f"event=order name={name}", file=sys.stderr, flush=True)
    return run(words)


def run(words: list[str]) -> dict[str, Any]:
    """Runs `chatmailctl` with the arguments `words`; returns its output and exit status."""
    from chatmail_milter.ctl.main import main as chatmailctl

    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            chatmailctl(words, prog_name="chatmailctl")
        except SystemExit as end:
            status = end.code
    code = status if isinstance(status, int) else int(status is not None)
    return {"status": code, "out": out.getvalue(), "err": err.getvalue()}
