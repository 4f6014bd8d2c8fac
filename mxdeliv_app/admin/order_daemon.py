"""`chatmail-orders`: does one order for the admin pages, as root, and ends. systemd starts one a connection.

Only the pages' user can connect. It reads one line of JSON, `{"order": NAME, "values": {…}}`, makes of it
words of `chatmailctl` by the closed list, and runs that in this process. The answer is a line of JSON, too:
`status` (an exit status), `out` and `err`; or `field` and `why` where a value is wrong.
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
    """Do one order of the admin pages.

    systemd starts it for each connection to its socket (chatmail-orders@.service). The question is a line of
    JSON on standard input, the answer one on standard output.
    """
    answer(sys.stdin.buffer, sys.stdout.buffer)


def answer(asked: BinaryIO, to: BinaryIO) -> None:
    """One question, one answer."""
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
    """What `chatmailctl` says to `words`, and its exit status."""
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
