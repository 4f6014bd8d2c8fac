"""`chatmailctl doctor --of DOMAIN`: a relay as another host sees it."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from dns.rrset import RRset

from chatmail_milter.ctl.main import main
from chatmail_milter.doctor import Finding, FindingState, certificates, optional_records, outside, records
from chatmail_milter.doctor.certificates import ServedCertificate
from chatmail_milter.doctor.outside import Service
from tests.unit.doctor.found import states

ADDRESSES = {"a.test": ["192.0.2.1", "2001:db8::1"], "mx.a.test": ["192.0.2.2"]}
GREETINGS = {25: b"220 mx", 80: b"HTTP/1.1 301", 143: b"* OK", 465: b"220 a", 587: b"220 a", 993: b"* OK hi"}
ON_443 = {"": b"HTTP/1.1 200 OK", "imap": b"* OK", "smtp": b"220 a"}


def greet(service: Service, _address: str, _name: str) -> bytes:
    return ON_443[service.alpn] if service.port == 443 else GREETINGS[service.port]


def fails(port: int, error: OSError) -> outside.Greet:
    def greeted(service: Service, address: str, name: str) -> bytes:
        if service.port == port and service.alpn == "":
            raise error
        return greet(service, address, name)

    return greeted


def ports(greet: outside.Greet) -> dict[str, FindingState]:
    return states(outside.check_ports("a.test", ["mx.a.test"], ADDRESSES.__getitem__, greet))


def test_each_port_of_apps_is_asked_at_each_address_and_port_25_at_the_mx() -> None:
    found = ports(greet)
    services = ("80", "143", "443", "443 (imap)", "443 (smtp)", "465", "587", "993")
    asked = {f"{address} {name}" for address in ADDRESSES["a.test"] for name in services}
    assert found == dict.fromkeys([*asked, "192.0.2.2 25"], FindingState.GOOD)


def test_a_port_that_does_not_answer_is_bad_and_says_who_can_open_it() -> None:
    found = outside.check_ports("a.test", [], ADDRESSES.__getitem__, fails(587, TimeoutError("timed out")))
    bad = [one for one in found if one.state is not FindingState.GOOD]
    assert [one.what for one in bad] == ["192.0.2.1 587", "2001:db8::1 587"]
    assert bad[0].found == "does not answer: timed out"
    assert "provider" in bad[0].mend


def test_an_address_to_which_this_host_has_no_way_is_unknown() -> None:
    found = ports(fails(993, OSError(errno.ENETUNREACH, "Network is unreachable")))
    assert found["2001:db8::1 993"] is FindingState.UNKNOWN


def test_another_protocol_on_a_port_is_not_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GREETINGS, 25, b"554 no service")
    monkeypatch.setitem(ON_443, "imap", b"HTTP/1.1 400")
    found = ports(greet)
    assert found["192.0.2.2 25"] is FindingState.BAD
    assert found["192.0.2.1 443 (imap)"] is FindingState.SOON
    assert found["192.0.2.1 443"] is FindingState.GOOD


def test_a_name_without_an_address_is_bad() -> None:
    def none(_name: str) -> list[str]:
        raise socket.gaierror("no such name")

    assert states(outside.check_ports("a.test", ["a.test"], none, greet)) == {"a.test": FindingState.BAD}


@pytest.fixture
def server() -> Iterator[Callable[[bytes], tuple[int, list[bytes]]]]:
    """Serves one connection: says this, once it has been asked what it collects."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve(said: bytes) -> tuple[int, list[bytes]]:
            asked = list[bytes]()

            def once() -> None:
                with listener.accept()[0] as client:
                    if said.startswith(b"HTTP"):
                        asked.append(client.recv(1000))
                    for octet in (said[:3], said[3:]):
                        client.sendall(octet)

            threading.Thread(target=once, daemon=True).start()
            return listener.getsockname()[1], asked

        yield serve


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"220 a.test ESMTP\r\n", b"220 a.test ESMTP"),
        (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"220 cut", b"220 cut"),
        (b"x" * 5000, b"x"),
    ],
)
def test_the_first_line_is_read(
    server: Callable[[bytes], tuple[int, list[bytes]]], said: bytes, line: bytes
) -> None:
    port, asked = server(said)
    question = b"HEAD / HTTP/1.0\r\n\r\n" if said.startswith(b"HTTP") else b""
    found = outside.greet(Service(port, b"", question), "127.0.0.1", "a.test")
    assert found[: len(line)] == line
    assert len(found) < 2000
    assert asked == ([question] if question else [])


def test_only_ports_that_show_a_certificate_have_findings_of_it() -> None:
    asked = set[tuple[str, int]]()

    def look(name: str, port: int) -> ServedCertificate:
        asked.add((name, port))
        if port == 465:
            raise ConnectionRefusedError("refused")
        return ServedCertificate(datetime.now(UTC) + timedelta(60), "")

    found = states(outside.check_certificates("a.test", ["mx.a.test"], look))
    assert {port for _, port in asked} == {25, 443, 465, 587, 993}
    assert set(found.values()) == {FindingState.GOOD}
    assert "a.test:465" not in found


def test_certificates_are_those_of_the_named_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "look", lambda *asked: asked)
    assert outside._look("a.test", 443) == ("a.test", 443, "a.test")  # type: ignore[comparison-overlap]


def looked_up(answers: Mapping[str, set[str]]) -> Callable[[RRset], set[str]]:
    return lambda one: answers.get(f"{one.name.to_text(omit_final_dot=True)} {one.rdtype.name}", set())


@pytest.fixture
def _nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional_records, "check", lambda *_: ())
    monkeypatch.setattr(records, "reverse", lambda _: "mx.a.test.")
    monkeypatch.setattr(outside, "addresses", ADDRESSES.__getitem__)


@pytest.mark.usefixtures("_nothing_else")
def test_records_that_each_relay_needs_are_there() -> None:
    look = looked_up({"a.test MX": {"10 mx.a.test."}, "a.test TXT": {"other", "v=spf1 a:mx.a.test -all"}})
    assert outside.exchanges("a.test", look) == ["mx.a.test"]
    assert outside.exchanges("b.test", look) == ["b.test"]
    assert outside.exchanges("c.test", looked_up({"c.test MX": {"0 ."}})) == ["c.test"]
    assert outside.exchanges("[192.0.2.1]", look) == ["[192.0.2.1]"]
    assert states(outside.check_records("a.test", ["mx.a.test"], look)) == {
        "a.test MX": FindingState.GOOD,
        "a.test spf1": FindingState.GOOD,
        "_dmarc.a.test DMARC1": FindingState.BAD,
        "192.0.2.2 PTR": FindingState.GOOD,
    }
    silent = states(outside.check_records("a.test", [], lambda _: None))
    assert set(silent.values()) == {FindingState.UNKNOWN}
    assert list(outside.check_records("[192.0.2.1]", ["[192.0.2.1]"], look)) == []


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((400, b"501 5.5.4 Syntax error in parameters: no recipient\n"), FindingState.GOOD),
        ((200, b"501 5.5.4 Syntax error in parameters\n"), FindingState.BAD),
        ((404, b"<html>"), FindingState.BAD),
        (OSError("refused"), FindingState.BAD),
        (UnicodeError("label too long"), FindingState.BAD),
    ],
)
def test_mxdeliv_answers_as_ours(answer: tuple[int, bytes] | Exception, state: FindingState) -> None:
    def post(_host: str) -> tuple[int, bytes]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert states(outside.check_mxdeliv(["a.test", "a.test"], post)) == {"a.test": state}


def test_the_command_needs_no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHATMAIL_CONFIG", str(tmp_path / "absent.toml"))
    monkeypatch.setattr(outside, "exchanges", lambda domain: [f"mx.{domain}"])
    asked = list[tuple[str, list[str]]]()

    def check(domain: str, exchanges: list[str]) -> Iterator[Finding]:
        asked.append((domain, exchanges))
        yield Finding("ports", "x", FindingState.BAD, "y", "why", "how")

    monkeypatch.setattr("chatmail_milter.ctl.doctor.OUTSIDE", {"ports": check})
    done = CliRunner().invoke(main, ["doctor", "--of", "A.test", "--only", "ports"])
    assert (done.exit_code, asked) == (1, [("a.test", ["mx.a.test"])])
    assert "fix:  how" in done.output
    refused = CliRunner().invoke(main, ["doctor", "--of", "a.test", "--only", "queue"])
    assert refused.exit_code == 2
    assert "with --of" in refused.output
    refused = CliRunner().invoke(main, ["doctor", "--of", "a.test", "--outbound", "b.test"])
    assert (refused.exit_code, "not with --of" in refused.output) == (2, True)
