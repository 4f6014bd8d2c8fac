"""`/mxdeliv` as a peer meets it: the application under gunicorn, in front of a scripted SMTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import PeerRow, Peers
from tests.blackbox.queue_port import QueuePort
from tests.blackbox.served import Answer, Served, served

ALICE, BOB, CAROL = "alice123@a.example", "bob12345@a.example", "carol123@a.example"
SENDER = "dave1234@b.example"
MESSAGE = b"From: <dave1234@b.example>\r\nSubject: ...\r\n\r\nhello\r\n"
MAX = 1 << 20


@dataclass
class World:
    """The application, and the two ports of Postfix that it talks to."""

    app: Served
    inject: QueuePort
    mixed: QueuePort
    store: str

    def post(
        self,
        *recipients: str,
        body: bytes | Iterator[bytes] = MESSAGE,
        sender: str | None = SENDER,
        headers: Sequence[tuple[str, str]] = (),
        peer: str = "203.0.113.7",
        path: str = "/mxdeliv",
    ) -> Answer:
        fields = [("X-Real-IP", peer), *(("X-Mail-To", one) for one in recipients), *headers]
        if sender is not None:
            fields.append(("X-Mail-From", sender))
        return self.app.request("POST", path, fields, body)

    def counted(self) -> dict[str, PeerRow]:
        return {row.domain: row for row in Peers(open_store(self.store)).list()}


@pytest.fixture(scope="module")
def world_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("app")
    store = f"sqlite:///{directory}/store.sqlite"
    with QueuePort() as inject, QueuePort() as mixed:
        ports = [f"{name} = '{port.endpoint[0]}:{port.endpoint[1]}'" for name, port in
                 (("inject", inject), ("mixed", mixed))]  # fmt: skip
        lines = ["[mail]", "domain = 'a.example'", f"max_message_size = '{MAX}B'", "[listen]", *ports]
        (directory / "chatmail.toml").write_text("\n".join([*lines, "[store]", f"url = '{store}'", ""]))
        environment = {"CHATMAIL_CONFIG": str(directory / "chatmail.toml")}
        with served("mxdeliv_app.web:app_from_environment()", directory, environment) as app:
            yield World(app, inject, mixed, store)


@pytest.fixture
def world(world_once: World) -> World:
    for port in (world_once.inject, world_once.mixed):
        port.script = {}
        port.conversations.clear()
    return world_once


class TestAccepted:
    def test_a_message_reaches_postfix_as_the_peers_own(self, world: World) -> None:
        answer = world.post(ALICE)
        assert (answer.status, answer.first_line) == (200, "250 2.0.0 Ok: queued as 4ABC")
        assert world.inject.messages() == [MESSAGE]
        assert world.inject.conversations[0].commands[:6] == [
            "EHLO [203.0.113.7]",
            "XCLIENT ADDR=203.0.113.7 NAME=[UNAVAILABLE] PROTO=ESMTP",
            "EHLO [203.0.113.7]",
            f"MAIL FROM:<{SENDER}> BODY=8BITMIME SIZE={len(MESSAGE)}",
            f"RCPT TO:<{ALICE}>",
            "DATA",
        ]

    @pytest.mark.parametrize(
        ("peer", "attribute", "name"),
        [
            ("2001:db8::7", "IPV6:2001:db8::7", "[IPv6:2001:db8::7]"),
            ("::ffff:203.0.113.7", "203.0.113.7", "[203.0.113.7]"),
        ],
    )
    def test_peers_by_ipv6(self, world: World, peer: str, attribute: str, name: str) -> None:
        assert world.post(ALICE, peer=peer).status == 200
        commands = world.inject.conversations[0].commands
        assert commands[1] == f"XCLIENT ADDR={attribute} NAME=[UNAVAILABLE] PROTO=ESMTP"
        assert commands[2] == f"EHLO {name}"

    @pytest.mark.parametrize("sender", [None, "", "<>"])
    def test_the_null_sender(self, world: World, sender: str | None) -> None:
        assert world.post(ALICE, sender=sender).status == 200
        assert world.inject.conversations[0].commands[3].startswith("MAIL FROM:<> ")

    def test_repeated_joined_and_odd_recipients_are_each_given_once(self, world: World) -> None:
        answer = world.post(f"<{ALICE.upper()}>", f"{BOB}, {CAROL}", ALICE, path="/mxdeliv/")
        assert answer.status == 200
        given = [one for one in world.inject.conversations[0].commands if one.startswith("RCPT")]
        assert given == [f"RCPT TO:<{one}>" for one in (ALICE, BOB, CAROL)]

    @pytest.mark.parametrize("joined", [True, False])
    def test_a_thousand_recipients(self, world: World, joined: bool) -> None:
        recipients = [f"user{i:015}@{'x' * 40}.a.example" for i in range(1000)]
        answer = world.post(*([",".join(recipients)] if joined else recipients))
        assert answer.status == 200
        assert sum(one.startswith("RCPT") for one in world.inject.conversations[0].commands) == 1000

    def test_chunked_bodies(self, world: World) -> None:
        answer = world.post(ALICE, body=iter([b"A: b\r", b"\n\r\nc", b"d\r\n"]))
        assert answer.status == 200
        assert world.inject.messages() == [b"A: b\r\n\r\ncd\r\n"]
        assert "SIZE=" not in world.inject.conversations[0].commands[3]

    def test_any_content_type(self, world: World) -> None:
        for kind in ("message/rfc822", "application/x-www-form-urlencoded", "application/json", "x"):
            assert world.post(ALICE, headers=[("Content-Type", kind)]).status == 200
        assert world.inject.messages() == [MESSAGE] * 4

    def test_a_message_of_the_largest_size(self, world: World) -> None:
        body = b"A: b\r\n\r\n" + (b"x" * 76 + b"\r\n") * ((MAX - 8) // 78)
        assert world.post(ALICE, body=body).status == 200
        assert world.post(ALICE, body=iter([body[:1000], body[1000:]])).status == 200
        assert world.inject.messages() == [body, body]


class TestBody:
    @pytest.mark.parametrize(
        ("body", "data"),
        [
            (b"A: b\n\nx\n", b"A: b\r\n\r\nx\r\n"),
            (b"A: b\r\n\r\nx", b"A: b\r\n\r\nx\r\n"),
            (b"A: b\r\n\r\n.x\r\n..y\r\n", b"A: b\r\n\r\n..x\r\n...y\r\n"),
            (b"A: b\r\n\r\n..x\r\n", b"A: b\r\n\r\n..x\r\n"),
            (b"A: b\r\n\r\n\0\xff\r\n", b"A: b\r\n\r\n\0\xff\r\n"),
            (b"A: b\r\n\r\nx\ry\r\n", b"A: b\r\n\r\nx y\r\n"),
            (b"", b""),
        ],
    )
    def test_is_normalised_and_stuffed_once(self, world: World, body: bytes, data: bytes) -> None:
        assert world.post(ALICE, body=body).status == 200
        assert world.inject.messages() == [data]

    @pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\n"])
    def test_can_not_smuggle_a_second_message(self, world: World, end: bytes) -> None:
        smuggled = b"A: b\r\n\r\nx" + end + b"MAIL FROM:<x@y>\r\nRCPT TO:<z@y>\r\nDATA\r\nhello\r\n.\r\n"
        assert world.post(ALICE, body=smuggled).status == 200
        assert len(world.inject.messages()) == 1
        assert len(world.inject.conversations[0].commands) == 7

    def test_too_large_is_a_413_before_any_of_it_is_sent(self, world: World) -> None:
        answer = world.post(ALICE, body=b"x" * (MAX + 1))
        assert (answer.status, answer.first_line[:9]) == (413, "552 5.3.4")
        assert world.inject.conversations == []

    def test_too_large_without_a_length_is_a_413_and_never_accepted(self, world: World) -> None:
        answer = world.post(ALICE, body=(b"x" * 76 + b"\r\n" for _ in range(MAX // 78 + 1)))
        assert (answer.status, answer.first_line[:9]) == (413, "552 5.3.4")
        assert world.inject.messages() == []

    @pytest.mark.parametrize(
        "begun",
        [b"Content-Length: 1000\r\n\r\nA: b\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nA: b\n\r\n3"],
    )
    def test_a_body_that_is_cut_off_is_never_accepted(self, world: World, begun: bytes) -> None:
        request = f"POST /mxdeliv HTTP/1.1\r\nHost: x\r\nX-Real-IP: 203.0.113.7\r\nX-Mail-To: {ALICE}\r\n"
        with world.app.connect() as connection:
            connection.sendall(request.encode() + begun)
            connection.shutdown(1)
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
        assert world.inject.messages() == []


class TestRefused:
    @pytest.mark.parametrize(
        "method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "BREW"]
    )
    @pytest.mark.parametrize("path", ["/mxdeliv", "/mxdeliv/"])
    def test_anything_but_post_is_a_405(self, world: World, method: str, path: str) -> None:
        answer = world.app.request(method, path, [("X-Real-IP", "203.0.113.7"), ("X-Mail-To", ALICE)])
        assert (answer.status, answer.headers["allow"]) == (405, "POST")

    @pytest.mark.parametrize("path", ["/mxdeliv/x", "/mxdelivx", "/x/mxdeliv"])
    def test_other_paths_are_not_this_one(self, world: World, path: str) -> None:
        assert world.post(ALICE, path=path).status == 404

    @pytest.mark.parametrize(
        ("recipients", "sender"),
        [
            ([], SENDER),
            ([""], SENDER),
            (["nonsense"], SENDER),
            ([ALICE, "x y@a"], SENDER),
            ([ALICE], "nonsense"),
        ],
    )
    def test_missing_and_malformed_addresses_are_a_400(
        self, world: World, recipients: list[str], sender: str
    ) -> None:
        answer = world.post(*recipients, sender=sender)
        assert (answer.status, answer.first_line[:9]) == (400, "501 5.5.4")
        assert world.inject.conversations == []

    @pytest.mark.parametrize(
        ("when", "reply", "status"),
        [
            (".", "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail", 403),
            (".", "554 5.7.1 No valid DKIM signature found", 403),
            (".", "552 5.3.4 Message too big for system", 413),
            (".", "451 4.3.0 Queue file write error", 503),
            ("DATA", "452 4.3.1 Insufficient system storage", 503),
            ("MAIL", "553 5.7.1 <x>: Sender address rejected", 403),
            ("MAIL", "552 5.3.4 Message size exceeds file system imposed limit", 413),
            ("RCPT", "550 5.1.1 <x>: Recipient address rejected: User unknown", 422),
            ("RCPT", "552 5.2.2 <x>: Recipient address rejected: Mailbox is full", 507),
            ("RCPT", "554 5.7.1 <x>: Relay access denied", 403),
            ("RCPT", "451 4.3.5 <x>: Server configuration problem", 503),
            ("XCLIENT", "554 5.7.1 Client host rejected", 403),
            (".", "554 Without an enhanced code", 400),
        ],
    )
    def test_postfix_says_what_the_peer_is_told(
        self, world: World, when: str, reply: str, status: int
    ) -> None:
        world.inject.script = {when: reply}
        answer = world.post(ALICE, BOB)
        assert answer.status == status
        assert answer.first_line == (
            reply if "Without" not in reply else "554 5.0.0 Without an enhanced code"
        )
        assert ("retry-after" in answer.headers) is (status == 503)

    def test_a_refusal_is_heard_by_who_still_sends(self, world: World) -> None:
        # nginx writes the whole body before it reads: closing early would be its 502.
        world.inject.script = {"RCPT": "550 5.1.1 User unknown"}
        for body in (b"x" * MAX, (b"x" * 10_000 for _ in range(100))):
            assert world.post(ALICE, body=body).status == 422
        assert world.inject.messages() == []

    def test_many_lines_become_one(self, world: World) -> None:
        world.inject.script = {".": "554-5.7.1 No valid\r\n554 5.7.1 DKIM signature found"}
        assert world.post(ALICE).first_line == "554 5.7.1 No valid DKIM signature found"

    @pytest.mark.parametrize("when", ["", "EHLO", "XCLIENT", "MAIL", "RCPT", "DATA", "."])
    def test_a_postfix_that_goes_away_means_later(self, world: World, when: str) -> None:
        world.inject.script = {when: None}
        answer = world.post(ALICE)
        assert (answer.status, answer.first_line[:9]) == (503, "451 4.3.0")
        assert "retry-after" in answer.headers

    @pytest.mark.parametrize("reply", ["", "nonsense", "999 5.0.0 x", "250-ever\r\n" * 500, "x" * 10_000])
    def test_a_postfix_that_talks_nonsense_means_later(self, world: World, reply: str) -> None:
        world.inject.script = {"MAIL": reply}
        assert world.post(ALICE).status == 503

    def test_without_xclient_nothing_is_injected(self, world: World) -> None:
        # As ourselves we would be trusted like this machine.
        world.inject.script = {"EHLO": "250-test\r\n250 PIPELINING"}
        assert world.post(ALICE).status == 503
        assert world.inject.conversations[0].commands == ["EHLO [203.0.113.7]"]

    @pytest.mark.parametrize("peer", ["", "unix:", "nonsense", "1.2.3.4, 5.6.7.8"])
    def test_without_the_peers_address_nothing_is_injected(self, world: World, peer: str) -> None:
        answer = world.post(ALICE, peer=peer)
        assert (answer.status, answer.first_line[:9]) == (503, "451 4.3.0")
        assert world.inject.conversations == []


class TestMixed:
    JSON = (("Accept", "application/json, text/plain"),)

    def test_who_asks_is_told_each_and_the_accepted_have_it(self, world: World) -> None:
        world.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
        answer = world.post(ALICE, BOB, headers=self.JSON)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == {
            "recipients": [
                {"address": ALICE, "code": 250, "status": "2.0.0", "text": "Ok: queued as 4ABC"},
                {"address": BOB, "code": 550, "status": "5.1.1", "text": "User unknown"},
            ]
        }
        assert world.inject.messages() == [MESSAGE]
        assert world.mixed.conversations == []

    @pytest.mark.parametrize("reply", ["550 5.1.1 User unknown", "552 5.2.2 Full", "451 4.3.0 Later"])
    def test_for_who_can_not_be_told_postfix_takes_all_and_bounces(self, world: World, reply: str) -> None:
        world.inject.script = {f"RCPT TO:<{BOB}>": reply}
        answer = world.post(ALICE, BOB, headers=[("Accept", "*/*")])
        assert (answer.status, answer.first_line) == (200, "250 2.0.0 Ok: queued as 4ABC")
        assert world.inject.messages() == []
        assert world.mixed.messages() == [MESSAGE]
        assert [c for c in world.mixed.conversations[0].commands if c.startswith("RCPT")] == [
            f"RCPT TO:<{ALICE}>",
            f"RCPT TO:<{BOB}>",
        ]

    def test_a_recipient_that_even_bounces_are_not_written_for_refuses_the_message(
        self, world: World
    ) -> None:
        world.inject.script = world.mixed.script = {f"RCPT TO:<{BOB}>": "554 5.7.1 Relay access denied"}
        answer = world.post(ALICE, BOB)
        assert (answer.status, answer.first_line) == (403, "554 5.7.1 Relay access denied")
        assert world.inject.messages() == world.mixed.messages() == []

    def test_the_gates_verdict_counts_there_too(self, world: World) -> None:
        world.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
        world.mixed.script = {".": "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"}
        assert world.post(ALICE, BOB).status == 403

    def test_refused_differently_who_asks_is_told_and_it_is_no_200(self, world: World) -> None:
        world.inject.script = {
            f"RCPT TO:<{BOB}>": "550 5.1.1 Unknown",
            f"RCPT TO:<{ALICE}>": "552 5.2.2 Full",
        }
        answer = world.post(ALICE, BOB, headers=self.JSON)
        assert answer.status == 207
        assert [one["code"] for one in answer.json["recipients"]] == [552, 550]
        assert world.inject.messages() == []


class TestCountedAndLogged:
    def test_accepted_mail_is_counted_for_the_senders_domain_with_its_latency(self, world: World) -> None:
        before = world.counted().get("count.example")
        assert before is None
        world.post(ALICE, sender="x@count.example")
        world.inject.script = {".": "554 5.7.1 No valid DKIM signature found"}
        world.post(ALICE, sender="x@count.example")
        row = world.counted()["count.example"]
        assert (row.road, row.attempts, row.successes, row.failures) == ("inbound", 2, 1, 1)
        assert row.mean_latency is not None
        assert 0 < row.mean_latency < 5
        assert row.reasons == {"policy": 1}

    def test_refused_mail_of_unheard_of_domains_is_counted_in_one_place(self, world: World) -> None:
        world.inject.script = {".": "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"}
        for name in ("one", "two", "three"):
            world.post(ALICE, sender=f"x@{name}.example")
        counted = world.counted()
        assert not {"one.example", "two.example", "three.example"} & counted.keys()
        assert counted["(unproven)"].reasons["cleartext"] >= 3

    def test_the_log_names_domains_and_nobody(self, world: World) -> None:
        world.inject.script = {f"RCPT TO:<{BOB}>": f"550 5.1.1 <{BOB}>: User unknown"}
        world.post(ALICE, BOB, headers=TestMixed.JSON)
        world.post("nonsense@@@@")
        assert "event=received domain=b.example recipients=2 accepted=1 status=200" in world.app.log
        for secret in ("alice", "bob1", "dave", "hello", "nonsense@@"):
            assert secret not in world.app.log


class TestPages:
    def test_new_hands_out_fresh_credentials(self, world: World) -> None:
        made = [json.loads(world.app.request("POST", "/new").body) for _ in range(5)]
        assert {tuple(sorted(one)) for one in made} == {("email", "password")}
        assert all(one["email"].endswith("@a.example") and len(one["password"]) >= 9 for one in made)
        assert len({one["email"] for one in made}) == 5

    def test_new_is_for_post_and_is_never_cached(self, world: World) -> None:
        assert world.app.request("GET", "/new").status == 405
        assert world.app.request("POST", "/new").headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        "path",
        ["/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml?emailaddress=x@a.example"],
    )
    def test_autoconfig(self, world: World, path: str) -> None:
        from xml.etree import ElementTree

        answer = world.app.request("GET", path)
        assert answer.headers["content-type"].startswith("text/xml")
        root = ElementTree.fromstring(answer.body)  # noqa: S314  (our own words)
        servers = [
            (one.tag, one.findtext("hostname"), one.findtext("port"), one.findtext("socketType"))
            for one in root.iter()
            if one.tag.endswith("Server")
        ]
        assert servers == [
            ("incomingServer", "a.example", "993", "SSL"),
            ("incomingServer", "a.example", "143", "STARTTLS"),
            ("outgoingServer", "a.example", "465", "SSL"),
            ("outgoingServer", "a.example", "587", "STARTTLS"),
        ]

    def test_landing_page_has_a_link_and_a_code(self, world: World) -> None:
        answer = world.app.request("GET", "/")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert b'href="dcaccount:https://a.example/new"' in answer.body
        assert b"<svg" in answer.body
