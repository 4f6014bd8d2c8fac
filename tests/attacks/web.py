"""Requests over HTTPS that never end, and such that cost the relay much."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.attacks import strangers
from tests.attacks.trial import Attack, AttackScene
from tests.chat.deadline import until
from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost

# Seconds between two octets of those who are slow: less than nginx bears of silence.
_SLOW = 5.0
_ADDRESSES, _EACH = 10, 200
# Octets of nginx for a connection: a header of two buffers of 128 KiB, and TLS.
_OF_A_HEADER = 330_000
# Files of bodies: 3 GiB in all, each a mebibyte larger than a message (3221225472 / 32505856).
_MOST_FILES = 99
_OF_A_BODY = 2_000_000
_NGINX = "$(systemctl show --value --property MainPID nginx)"


@contextmanager
def headers(scene: AttackScene) -> Iterator[str]:
    """Headers of half a megabyte, as far as they are taken, that go on for as long as nginx waits."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /mxdeliv HTTP/1.1\r\n" + b"X-Mail-To: %b\r\n" % (b"a" * 100_000) * 2)
        await _go_on(reader, writer, b"X-More: 1\r\n")

    before = _memory(scene.host)
    with strangers.kept(scene.ipv4(_ADDRESSES), _EACH, scene.host, 443, talk, tls=True) as tally:
        grown = _memory(scene.host) - before
        yield f"{tally.open} open, {grown // 1_000_000} MB of nginx"
        assert grown < _ADDRESSES * _EACH * _OF_A_HEADER, f"nginx has grown by {grown} octets"


@contextmanager
def bodies(scene: AttackScene) -> Iterator[str]:
    """Chunked bodies, of which a part came."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"POST /mxdeliv HTTP/1.1\r\nHost: {scene.host.domain}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"%x\r\n" % (2 * _OF_A_BODY))
        # Who is refused is told at once.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1)
            return
        writer.write(b"x" * _OF_A_BODY)
        await _go_on(reader, writer, b"x")

    with strangers.kept(scene.ipv4(20), 50, scene.host, 443, talk, tls=True) as tally:
        until("bodies have come in", lambda: _files(scene.host) >= _MOST_FILES // 2, 30)
        yield f"{tally.open} open, {_files(scene.host)} files"
        files = _files(scene.host)
        assert files <= _MOST_FILES, f"{files} unfinished bodies are on the disk"


def recipients(
    number: int, sources: int, each: int, patience: float = 60
) -> Callable[[AttackScene], AbstractContextManager[str]]:
    """POSTs for so many unknown recipients; who waits for longer than `patience` hangs up."""

    @contextmanager
    def strike(scene: AttackScene) -> Iterator[str]:
        host, addresses, context = scene.host, scene.ipv4(sources), any_certificate()

        def post(turn: int) -> None:
            source = addresses[turn % sources]
            session = http.client.HTTPSConnection(
                host.ip, context=context, timeout=patience, source_address=(source, 0)
            )
            names = [f"{secrets.token_hex(6)}@{host.domain}" for _ in range(number)]
            with contextlib.closing(session):
                session.putrequest("POST", "/mxdeliv", skip_host=True)
                session.putheader("Host", host.domain)
                session.putheader("X-Mail-From", "someone12345@peer.lab")
                for name in names:
                    session.putheader("X-Mail-To", name)
                session.putheader("Content-Length", "2")
                session.endheaders(b"\r\n")
                with contextlib.suppress(http.client.HTTPException):
                    session.getresponse()

        # Who is refused at once asks again at once.
        with strangers.flooding(post, sources * each, most=50_000) as tally:
            until("all are under way", lambda: tally.tried >= sources * each, 30)
            yield f"{sources * each} at once"

    return strike


async def _go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: bytes) -> None:
    """A little more every few seconds, until nginx hangs up."""
    hearing = asyncio.create_task(strangers.silent(reader, writer))
    while not hearing.done():
        writer.write(octets)
        await asyncio.wait([hearing], timeout=_SLOW)


def _memory(host: LabHost) -> int:
    """Octets that nginx's processes have of their own."""
    each = f"for pid in $(pgrep --parent {_NGINX}); do grep RssAnon /proc/$pid/status; done"
    return sum(int(line.split()[1]) * 1024 for line in host.run(each).stdout.splitlines())


def _files(host: LabHost) -> int:
    """How many bodies nginx has on the disk: their files have no name."""
    each = f"for pid in $(pgrep --parent {_NGINX}); do find -L /proc/$pid/fd -type f -links 0; done"
    return len(host.run(each, check=False).stdout.splitlines())


ATTACKS = (
    Attack("unfinished headers on 443, 10 addresses", headers),
    Attack("unfinished bodies on 443, 20 addresses", bodies),
    Attack("1,000 unknown recipients on 443, one address", recipients(1000, 1, 80)),
    Attack("1,000 unknown recipients on 443, 2 addresses", recipients(1000, 2, 40)),
    Attack("1,000 unknown recipients on 443, 20 addresses", recipients(1000, 20, 4)),
    Attack("1,000 unknown recipients on 443, 20 addresses that hang up", recipients(1000, 20, 4, 0.5)),
    Attack("100 unknown recipients on 443, 2 addresses", recipients(100, 2, 40)),
    Attack("16 unknown recipients on 443, 4 addresses", recipients(16, 4, 50)),
)
