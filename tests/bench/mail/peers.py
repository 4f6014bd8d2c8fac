"""Twenty peers with `/mxdeliv`, each at an address of its own, in one program: what a relay sends to.

`python -m tests.bench.mail.peers CERTIFICATE KEY`, started in a namespace that has the addresses, serves port
443 of all of them, takes everything, and is told by lines what to do: `hang ADDRESS CLIENT` (that client gets
nothing there but the TLS handshake), `well`, and `collect`, to which it answers with a line of JSON: since it
was asked last, when each recipient's message was there whole, in seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time

# To a POST without recipients: every chatmail server refuses it, and is known by that.
_REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n250 2.0.0 OK\r\n"


class ArrivalPeers:
    def __init__(self) -> None:
        self._arrived: dict[str, float] = {}
        self._hanging: tuple[str, ...] = ()
        self._well = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the relay's, until it hangs up."""
        ends = tuple(writer.get_extra_info(name)[0] for name in ("sockname", "peername"))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                if ends == self._hanging:
                    await self._well.wait()
                    break
                head = await reader.readuntil(b"\r\n\r\n")
                if ends != self._hanging:
                    await self._take(head, reader, writer)
        writer.close()

    async def _take(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = [line.partition(b": ")[::2] for line in head.split(b"\r\n")[1:]]
        await reader.readexactly(next(int(value) for name, value in fields if name == b"Content-Length"))
        now = time.time()
        recipients = [value.decode() for name, value in fields if name == b"X-Mail-To"]
        self._arrived.update(dict.fromkeys(recipients, now))
        writer.write(_ANSWER if recipients else _REFUSED)

    def told(self, line: str) -> str:
        """Do what a line says; the answer."""
        order, *hanging = line.split()
        if order == "collect":
            arrived, self._arrived = self._arrived, {}
            return json.dumps(arrived)
        self._hanging = tuple(hanging)
        self._well.set()  # whoever hangs from before is let go
        self._well = asyncio.Event()
        return "done"


async def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    peers = ArrivalPeers()
    server = await asyncio.start_server(peers.serve, "0.0.0.0", 443, ssl=context, backlog=256)  # noqa: S104
    async with server:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(peers.told(line), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
