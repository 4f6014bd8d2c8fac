"""A milter that does nothing, by pymilter: what asking any milter of this kind costs.

Run by the relay's own Python, on the relay. Which stages it is asked at, and which it answers, is what it is
told to negotiate (SMFIP_* of libmilter's mfdef.h); the callbacks are there all the same and only return.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import milter

from chatmail_milter import systemd

NO_REPLY = {
    "connect": milter.P_NR_CONN,
    "envfrom": milter.P_NR_MAIL,
    "envrcpt": milter.P_NR_RCPT,
    "header": milter.P_NR_HDR,
    "eoh": milter.P_NR_EOH,
    "body": milter.P_NR_BODY,
    "eom": 0,
    "abort": 0,
}


def serve(steps: int, macros: dict[str, str], open_socket: Callable[[], None]) -> None:
    """Registers, opens the socket and runs until SIGTERM. `macros` are names by stage number."""

    def negotiate(ctx: Any, offer: list[int]) -> int:
        offer[1] &= steps
        offer[2] = offer[3] = 0
        for stage, names in macros.items():
            ctx.setsymlist(int(stage), names)
        return int(milter.CONTINUE)

    def answering(stage: str) -> Callable[..., int]:
        answer = int(milter.NOREPLY if steps & NO_REPLY[stage] else milter.CONTINUE)
        return lambda _ctx, *_args: answer

    for stage in NO_REPLY:
        getattr(milter, f"set_{stage}_callback")(answering(stage))
    milter.set_close_callback(lambda _ctx: int(milter.CONTINUE))
    milter.set_flags(milter.ADDHDRS | milter.CHGHDRS | milter.CHGFROM | milter.SETSYMLIST)
    milter.register("nothing", negotiate=negotiate)
    open_socket()
    milter.main()


def opened(where: str) -> None:
    milter.setconn(where)
    milter.opensocket(False)


def share(path: str, processes: int) -> Callable[[], None]:
    """Listens at `path` and forks; in each process, what puts that socket under libmilter."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(1024)
    for _ in range(processes - 1):
        if not os.fork():
            break
    return lambda: systemd.substitute(listening, lambda own: opened(f"unix:{own}"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("where", help="unix:PATH or inet:PORT@HOST")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--macros", type=json.loads, default={})
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    os.umask(0)
    kind, _, place = arguments.where.partition(":")
    if kind == "unix" and os.path.exists(place):
        os.unlink(place)
    if arguments.processes > 1:
        open_socket = share(place, arguments.processes)
    else:
        open_socket = lambda: opened(arguments.where)  # noqa: E731
    serve(arguments.steps, arguments.macros, open_socket)


if __name__ == "__main__":
    main()
