"""A client that requests too many accounts gets an answer each time, and the app's memory does not grow."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.bench.mail.units import APP, HOOKS, NGINX, Units
from tests.chat import settings
from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost
from tests.lab.visitor import seen_as

REQUESTS = 10_000
CONNECTIONS = 8
VISITOR = "10.77.0.98"
MOST = 200  # octets of an answer
GROWN_MOST = 16.0  # MiB

# Status, and how many were answered with it.
Said = Counter[int]
Flood = Callable[[LabHost, int], Said]


def test_from_one_address(b: LabHost) -> None:
    """Refused by nginx after the lab's 600 and as many a minute."""
    began = time.monotonic()
    with seen_as(VISITOR, b.ip):
        said, grown = flooded(b, through_nginx, REQUESTS)
    minutes = (time.monotonic() - began) / 60
    assert set(said) <= {200, 429}
    assert 600 <= said[200] <= 600 * (1 + minutes) + 1
    assert max(grown.values()) < GROWN_MOST, grown


def test_from_everywhere(b: LabHost) -> None:
    """What nginx would let through of the same: right at the app."""
    said, grown = flooded(b, at_the_app, REQUESTS)
    assert set(said) == {200}
    assert max(grown.values()) < GROWN_MOST, grown


def test_from_everywhere_with_tokens_that_are_none(b: LabHost) -> None:
    with settings.changed(b, "registration", '"token"'):
        said, grown = flooded(b, at_the_app, REQUESTS)
    assert set(said) == {403}
    assert max(grown.values()) < GROWN_MOST, grown


def flooded(host: LabHost, flood: Flood, requests: int) -> tuple[Said, dict[str, float]]:
    """What was answered, and by how many MiB each service grew at most, once it had worked a little."""
    names = (APP, NGINX, HOOKS)
    services = Units(host, names)
    said = flood(host, CONNECTIONS * 50)
    before = {name: services.memory(name).now for name in names}
    for name in names:
        services.forget_peak(name)
    said += flood(host, requests)
    return said, {name: services.memory(name).peak - before[name] for name in names}


def through_nginx(host: LabHost, requests: int) -> Said:
    """Over a few connections that are kept."""

    def ask(number: int) -> Said:
        connection = http.client.HTTPSConnection(host.ip, context=any_certificate(), timeout=60)
        said: Said = Counter()
        for _ in range(number):
            connection.request("POST", "/new", headers={"Host": host.domain, "Content-Length": "0"})
            answer = connection.getresponse()
            body = answer.read()
            assert len(body) <= MOST
            assert json.loads(body)
            said[answer.status] += 1
        connection.close()
        return said

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(ask, [requests // CONNECTIONS] * CONNECTIONS), Counter())


def at_the_app(host: LabHost, requests: int) -> Said:
    """As nginx asks, a connection each: each time with a token that nobody made."""
    said = json.loads(host.run(["python3", "-c", ASK, str(requests), str(MOST)], timeout=300).stdout)
    return Counter({int(status): number for status, number in said.items()})


ASK = r"""
import collections, concurrent.futures, json, socket, sys

requests, most = map(int, sys.argv[1:])

def ask(number):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect("/run/mxdeliv-app/app.sock")
        head = b"POST /new?token=%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(head % number)
        got = b""
        while more := connection.recv(65536):
            got += more
    head, _, body = got.partition(b"\r\n\r\n")
    assert len(body) <= most and json.loads(body)
    return int(head.split()[1])

with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(json.dumps(collections.Counter(pool.map(ask, range(requests), chunksize=100))))
"""
