"""`chatmail-recipients`: its replies at RCPT, in Postfix's policy delegation protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from chatmail_milter import address
from chatmail_milter.processes.ratelimit import Rate
from chatmail_milter.store.existence import StoreAwayError
from mxdeliv_app.postfix import policy_service
from mxdeliv_app.postfix.recipients import EnumerationLimit, UnknownRecipients

ALICE = "alice123@a.example"
UNKNOWN = "action=550 5.1.1 User unknown"
GO_ON = "action=DUNNO"


def answers(unknown: UnknownRecipients, *requests: bytes) -> list[str]:
    """The answers to requests on one connection, as Postfix makes it."""

    async def ask() -> list[str]:
        ours, postfix = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=postfix)
        serving = asyncio.create_task(
            policy_service.serve(unknown.action, *await asyncio.open_connection(sock=ours))
        )
        said = []
        for one in requests:
            writer.write(one)
            said.append((await reader.readuntil(b"\n\n")).decode().removesuffix("\n\n"))
        writer.close()
        await serving
        return said

    return asyncio.run(ask())


def request(recipient: str, state: str = "RCPT", peer: str = "192.0.2.7") -> bytes:
    lines = ["request=smtpd_access_policy", f"protocol_state={state}", f"client_address={peer}"]
    return "".join(
        f"{line}\n" for line in [*lines, "sender=eve@b.example", f"recipient={recipient}", ""]
    ).encode()


def accounts(*names: str) -> UnknownRecipients:
    return UnknownRecipients(address.domain_of(names[0]), lambda one: one in names, limit())


def limit(
    per_minute: int = 0, burst: int = 1, clock: Callable[[], float] = lambda: 1000.0
) -> EnumerationLimit:
    return EnumerationLimit(Rate(per_minute, burst), clock)


def test_a_recipient_without_an_account_is_unknown() -> None:
    assert answers(accounts(ALICE), request("nobody12@a.example"), request(ALICE)) == [UNKNOWN, GO_ON]


@pytest.mark.parametrize("spelling", ["ALICE123@A.Example", "<alice123@a.example>"])
def test_an_account_is_known_in_each_spelling(spelling: str) -> None:
    assert answers(accounts(ALICE), request(spelling)) == [GO_ON]


def test_the_domain_of_a_relay_without_a_name_may_have_no_brackets() -> None:
    here = accounts("alice123@[192.0.2.1]")
    assert answers(here, request("alice123@192.0.2.1"), request("nobody12@192.0.2.1")) == [GO_ON, UNKNOWN]


@pytest.mark.parametrize("other", ["b.example", "a.example.b.example", "sub.a.example", "[192.0.2.1]"])
def test_nothing_is_said_of_another_domain(other: str) -> None:
    """Postfix may have mailboxes for it too."""
    assert answers(accounts(ALICE), request(f"nobody12@{other}")) == [GO_ON]


@pytest.mark.parametrize(
    "malformed", ["", "alice123", "alice 123@a.example", "alice123@a.example@", "j\udcfc@a"]
)
def test_what_can_be_no_account_is_unknown(malformed: str) -> None:
    asked = request(malformed.encode(errors="surrogateescape").decode("latin-1"))
    assert answers(accounts(ALICE), asked) == [UNKNOWN]


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_recipient_can_not_say_another_attribute(separator: str) -> None:
    asked = request(f"nobody12{separator}recipient={ALICE}")
    assert answers(accounts(ALICE), asked) == [UNKNOWN]


@pytest.mark.parametrize("state", ["VRFY", "DATA", "CONNECT"])
def test_nothing_is_said_at_another_state(state: str) -> None:
    """VRFY is answered 252 for every address."""
    assert answers(accounts(ALICE), request("nobody12@a.example", state)) == [GO_ON]


def test_while_the_store_is_away_nobody_is_unknown_and_it_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = [True]

    def is_account(_: str) -> bool:
        if away[0]:
            raise StoreAwayError("OperationalError")
        return False

    unknown = UnknownRecipients("a.example", is_account, limit())
    asked = request("nobody12@a.example")
    assert answers(unknown, asked, asked) == [GO_ON] * 2
    away[0] = False
    assert answers(unknown, asked, asked) == [UNKNOWN] * 2
    assert caplog.messages == ["event=store-away cause=OperationalError", "event=store-back cause=-"]


def test_a_connection_that_ends_amid_a_request_is_closed() -> None:
    async def ask() -> bytes:
        ours, postfix = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=postfix)
        writer.write(b"request=smtpd_access_policy\n")
        writer.write_eof()
        await policy_service.serve(accounts(ALICE).action, *await asyncio.open_connection(sock=ours))
        return await reader.read()

    assert asyncio.run(ask()) == b""
