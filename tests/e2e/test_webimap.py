"""WebIMAP on a real relay: REST and WebSocket through nginx, Dovecot and Postfix; and clients that attack."""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.chat import pgp, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.chat.smtp import any_certificate
from tests.chat.webimap import Socket, ask, logged_in
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.inventory import WEB_CLIENT
from tests.lab.visitor import seen_as

VISITOR, OTHERS = "10.77.0.98", ("10.77.0.101", "10.77.0.102")
# The default of each setting.
OF_ONE_ACCOUNT, OF_ONE_ADDRESS = 20, 150
FRAME = 1 << 20
BEFORE_LOGIN = 32 << 10


@pytest.fixture
def login(a: LabHost) -> Login:
    """A new account on _a.lab."""
    return new_account(a)


@pytest.fixture
def web(a: LabHost, login: Login) -> Iterator[Socket]:
    """A socket of this account."""
    with logged_in(a, login) as found:
        yield found


def deliver(host: LabHost, sender: Login, recipient: str, text: str = "hello") -> bytes:
    """Submits a message in the usual way; returns it."""
    message = pgp.encrypted(sender[0], recipient, pgp.message_id(), text)
    assert smtp.submit(host.ip, sender, [recipient], message).code == 250
    return message


def armored(message: str | bytes) -> str:
    text = message if isinstance(message, str) else message.decode()
    return text[text.index("-----BEGIN") :].replace("\r\n", "\n").strip()


class TestOff:
    def test_where_it_is_off_there_is_nothing(self, b: LabHost) -> None:
        for path in ("/webimap/mailboxes", "/websmtp/send", "/webimap/ws"):
            assert b.run(f"curl -sk -o /dev/null -w %{{http_code}} https://127.0.0.1{path}").stdout == "404"
        units = ["chatmail-webimap.socket", "chatmail-webimap.service"]
        assert b.run(["systemctl", "is-active", *units], check=False).stdout.split() == ["inactive"] * 2


class TestRest:
    def test_a_mailbox_by_requests(self, a: LabHost, login: Login, writer: Login) -> None:
        assert ask(a, "GET", "/webimap/mailboxes", login) == (
            200,
            [{"name": "INBOX", "messages": 0, "unseen": 0}],
        )
        sent = deliver(a, writer, login[0])
        status, (first,) = ask(a, "GET", "/webimap/messages?mailbox=INBOX&since_uid=0&wait=60", login)
        assert status == 200
        assert first["uid"] == first["seq_num"] == 1
        assert first["flags"] == []
        local, _, host = writer[0].partition("@")
        assert first["envelope"]["from"] == [{"name": "", "mailbox": local, "host": host}]
        assert first["envelope"]["subject"] == "[...]"
        status, whole = ask(a, "GET", "/webimap/message/1", login)
        assert status == 200
        assert armored(whole.pop("body")) == armored(sent)
        assert whole == first
        assert ask(a, "GET", "/webimap/mailboxes", login)[1][0]["unseen"] == 1
        change = {"uid": 1, "flags": ["\\Seen", "$Kept"], "op": "add"}
        assert ask(a, "POST", "/webimap/message/flags", login, change) == (200, {"status": "ok"})
        assert set(ask(a, "GET", "/webimap/messages", login)[1][0]["flags"]) == {"\\Seen", "$Kept"}
        assert ask(a, "GET", "/webimap/messages?since_uid=1", login) == (200, [])
        # Empty is absent.
        (again,) = ask(a, "GET", "/webimap/messages?mailbox=&since_uid=&wait=", login)[1]
        assert again["uid"] == 1
        assert ask(a, "DELETE", "/webimap/message/1", login) == (200, {"status": "deleted"})
        assert ask(a, "GET", "/webimap/message/1", login) == (404, {"error": "message not found"})
        deliver(a, writer, login[0])
        (second,) = ask(a, "GET", "/webimap/messages?since_uid=1&wait=60", login)[1]
        path = f"/webimap/messages/INBOX/{second['uid']}"
        assert ask(a, "DELETE", path, login) == (200, {"status": "deleted"})
        assert ask(a, "GET", "/webimap/messages", login) == (200, [])

    def test_a_client_that_no_longer_waits_has_no_session(self, a: LabHost, login: Login) -> None:
        def sessions() -> int:
            return a.run(["doveadm", "-f", "tab", "who", "-1", login[0]]).stdout.count(login[0])

        waiting = http.client.HTTPSConnection(a.ip, context=any_certificate())
        fields = {"Host": a.domain, "X-Email": login[0], "X-Password": login[1]}
        waiting.request("GET", "/webimap/messages?wait=120", headers=fields)
        until("it waits", lambda: sessions() == 1, 20)
        waiting.close()
        # Long before the two minutes are over.
        until("its session has ended", lambda: sessions() == 0, 15)

    @pytest.mark.parametrize("path", ["/webimap/send", "/websmtp/send"])
    def test_a_message_is_sent_by_the_same_rules_as_on_465(
        self, a: LabHost, login: Login, writer: Login, path: str
    ) -> None:
        def send(message: bytes, **changed: object) -> tuple[int, object]:
            body = {"from": login[0], "to": [writer[0]], "body": message.decode()}
            return ask(a, "POST", path, login, body | changed)

        mid = pgp.message_id()
        message = pgp.encrypted(login[0], writer[0], mid)
        assert send(message) == (200, {"status": "sent"})
        with ImapMailbox(a.ip, *writer) as mailbox:
            found = until("the message arrives", lambda: mailbox.find(mid), 20)
        assert armored(found) == armored(message)
        status, said = send(pgp.plain(login[0], writer[0], pgp.message_id()))
        assert (status, "Encryption Needed" in str(said)) == (400, True), said
        forged = pgp.encrypted(writer[0], writer[0], pgp.message_id())
        assert send(forged)[0] == 400
        assert send(message, **{"from": writer[0]})[0] == 400
        assert send(message, to=["a@b\r\nDATA"])[0] == 400
        assert send(message, to=[])[0] == 400

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/webimap/none", 404),
            ("POST", "/webimap/mailboxes", 405),
            ("GET", "/webimap/message/x", 400),
            ("GET", "/webimap/messages?since_uid=-1", 400),
            ("GET", "/webimap/messages?mailbox=None", 400),
            ("GET", "/webimap/messages?mailbox=a&mailbox=b", 400),
            ("POST", "/webimap/message/flags", 400),
        ],
    )
    def test_what_is_no_request(self, a: LabHost, login: Login, method: str, path: str, status: int) -> None:
        found, said = ask(a, method, path, login, b"{" if method == "POST" else None)
        assert (found, list(said)) == (status, ["error"]), said

    def test_a_body_too_large_is_refused(self, a: LabHost, login: Login) -> None:
        # Only its length: nginx refuses it before it comes.
        status, _ = ask(a, "POST", "/webimap/send", login, b"", **{"Content-Length": str(1 << 30)})
        assert status == 413


class TestSocket:
    def test_all_actions(self, a: LabHost, login: Login, writer: Login, web: Socket) -> None:
        sent = deliver(a, writer, login[0], "first")
        told = web.new_message()
        assert web.result("list_messages", mailbox="INBOX", since_uid=0) == [told]
        whole = web.result("fetch", uid=told["uid"])
        assert armored(whole.pop("body")) == armored(sent)
        assert whole == told
        assert web.result("create_mailbox", name="Kept é") == {"status": "created"}
        assert web.result("copy", uid=1, dest_mailbox="Kept é") == {"status": "copied"}
        assert {one["name"]: one["messages"] for one in web.result("list_mailboxes")} == {
            "INBOX": 1,
            "Kept é": 1,
        }
        assert web.result("flags", mailbox="Kept é", uid=1, flags=["\\Flagged"], op="set") == {"status": "ok"}
        assert web.result("list_messages", mailbox="Kept é")[0]["flags"] == ["\\Flagged"]
        assert web.result("flags", mailbox="Kept é", uid=1, flags=["\\Flagged"], op="remove") == {
            "status": "ok"
        }
        assert web.result("list_messages", mailbox="Kept é")[0]["flags"] == []
        assert web.result("move", mailbox="Kept é", uid=1, dest_mailbox="INBOX") == {"status": "moved"}
        moved = web.new_message()
        assert moved["uid"] == 2
        assert web.result("search", query=writer[0].partition("@")[0]) == web.result("list_messages")
        # The last would be a literal, and parentheses another search.
        for query in ("not there", ") ALL (", "{5}"):
            assert web.result("search", query=query) == []
        assert web.result("rename_mailbox", old_name="Kept é", new_name="Other") == {"status": "renamed"}
        assert web.result("delete_mailbox", name="Other") == {"status": "deleted"}
        assert web.result("delete", uid=2) == {"status": "deleted"}
        assert [one["uid"] for one in web.result("list_messages")] == [1]
        web.put({"type": "ping"})
        assert web.get() == {"action": "pong"}
        mid = pgp.message_id()
        message = pgp.encrypted(login[0], writer[0], mid).decode()
        assert web.result("send", to=[writer[0]], body=message) == {"status": "sent"}
        with ImapMailbox(a.ip, *writer) as mailbox:
            assert until("the message arrives", lambda: mailbox.find(mid), 20)
        assert web.pushed == []

    def test_each_way_to_log_in(self, a: LabHost, login: Login, writer: Login) -> None:
        deliver(a, writer, login[0])
        query = f"?email={login[0]}&password={login[1]}&mailbox=INBOX&since_uid=0"
        fields = {"X-Email": login[0], "X-Password": login[1]}
        with (
            Socket(a, query) as one,
            Socket(a, "?since_uid=0", fields) as other,
            logged_in(a, login) as third,
        ):
            assert one.new_message() == other.new_message() == third.new_message()
        with logged_in(a, login, since_uid=1) as later:
            deliver(a, writer, login[0])
            assert later.new_message()["uid"] == 2

    @pytest.mark.parametrize(
        "frame",
        [
            "{", "[]", '"x"', b"\xff\x00", {}, {"action": 5}, {"action": "none"}, {"action": "_open"},
            {"action": "fetch"}, {"action": "fetch", "data": []}, {"action": "fetch", "data": {"uid": "x"}},
            {"action": "fetch", "data": {"uid": 1, "mailbox": "a\r\nx LOGOUT"}},
            {"action": "fetch", "data": {"uid": 99}},
            {"action": "flags", "data": {"uid": 1, "op": "add", "flags": ["\\Seen) x"]}},
            {"action": "flags", "data": {"uid": 1, "op": "eat", "flags": []}},
            {"action": "list_messages", "data": {"mailbox": "None"}},
            {"action": "send", "data": {"to": ["x@y"], "body": 5}},
            {"action": "delete_mailbox", "data": {"name": "../INBOX"}},
        ],
        ids=repr,
    )  # fmt: skip
    def test_a_malformed_frame_is_an_error_and_the_socket_goes_on(self, web: Socket, frame: object) -> None:
        web.put(frame)
        said = web.get()
        assert said["action"] == "error", said
        assert web.result("list_messages") == []

    def test_a_frame_too_large_ends_the_socket(self, web: Socket) -> None:
        with suppress(ConnectionClosed):
            web.put("x" * (FRAME + 1))
        with pytest.raises(ConnectionClosed):
            web.get()

    def test_before_its_login_a_socket_may_send_little(self, a: LabHost) -> None:
        with Socket(a) as web:
            with suppress(ConnectionClosed):
                web.put("x" * 4 * BEFORE_LOGIN)
            with pytest.raises(ConnectionClosed):
                web.get()

    @pytest.mark.parametrize(
        "first", ["{", {"action": "fetch"}, {"action": "login"}, {"action": "login", "data": {"email": "x"}}]
    )
    def test_without_a_login_it_ends(self, a: LabHost, first: object) -> None:
        with Socket(a) as web:
            web.put(first)
            assert web.get()["action"] == "error"
            with pytest.raises(ConnectionClosed):
                web.get()


class TestAccess:
    def test_another_site_s_page_may_not_ask_unless_it_is_listed(self, a: LabHost, login: Login) -> None:
        path = "/webimap/mailboxes"
        for origin, status in (("https://evil.test", 403), ("null", 403), (WEB_CLIENT, 200)):
            assert ask(a, "GET", path, login, Origin=origin)[0] == status
        assert ask(a, "GET", path, login, Origin=f"https://{a.domain}")[0] == 200
        with pytest.raises(InvalidStatus) as caught:
            Socket(a, headers={"Origin": "https://evil.test"})
        assert caught.value.response.status_code == 403
        with Socket(a, headers={"Origin": WEB_CLIENT}) as web:
            assert web.log_in(login)["action"] == "result"

    def test_a_listed_page_s_browser_is_told_that_it_may(self, a: LabHost) -> None:
        curl = f"curl -sk -o /dev/null -D - -X OPTIONS -H 'Origin: {WEB_CLIENT}'"
        curl += f" -H 'Access-Control-Request-Method: POST' -H 'Host: {a.domain}'"
        said = a.run(f"{curl} https://127.0.0.1/webimap/send").stdout.lower()
        assert f"access-control-allow-origin: {WEB_CLIENT}" in said
        said = a.run(f"{curl.replace(WEB_CLIENT, 'https://evil.test')} https://127.0.0.1/webimap/send").stdout
        assert "access-control-allow-origin" not in said.lower()

    def test_a_wrong_password(self, a: LabHost, login: Login) -> None:
        wrong = login[0], "wrong password"
        assert ask(a, "GET", "/webimap/mailboxes", wrong) == (401, {"error": "authentication failed"})
        assert ask(a, "GET", "/webimap/mailboxes") == (401, {"error": "missing credentials"})
        body = {"to": [login[0]], "body": "x"}
        assert ask(a, "POST", "/webimap/send", wrong, body) == (401, {"error": "authentication failed"})
        with Socket(a) as web:
            assert web.refused(wrong) == "authentication failed"
            with pytest.raises(ConnectionClosed) as caught:
                web.get()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 4401

    def test_dovecot_and_postfix_know_the_client_s_address(self, a: LabHost, login: Login) -> None:
        with seen_as(VISITOR, a.ip), logged_in(a, login):
            who = ["doveadm", "who", login[0]]
            until("Dovecot has it", lambda: f"({VISITOR})" in a.run(who).stdout, 20)

    def test_its_log_names_nobody(self, a: LabHost, login: Login) -> None:
        cursor = a.cursor()
        with Socket(a, f"?email={login[0]}&password={login[1]}") as web:
            web.put("{")
            web.get()
            with suppress(ConnectionClosed):
                web.put("x" * (FRAME + 1))
        ask(a, "GET", "/webimap/message/x", (login[0], "wrong password"))
        # It may have nothing to say of this; the unit has its own lines.
        assert any(a.journal("--unit=chatmail-webimap"))
        for line in [one["MESSAGE"] for one in a.journal("--unit=chatmail-webimap", since=cursor)]:
            assert login[0] not in line
            assert login[1] not in line


class TestMany:
    def test_two_hundred_sockets_idle_and_each_is_told(self, a: LabHost, writer: Login) -> None:
        logins = [new_account(a) for _ in range(10)]
        with ExitStack() as stack:
            sockets: list[Socket] = []
            for address, number in zip(OTHERS, (OF_ONE_ADDRESS, 50), strict=True):
                # The address stays for as long as the sockets: they would be cut off without it.
                stack.enter_context(seen_as(address, a.ip))
                for _ in range(number):
                    one = logins[len(sockets) // OF_ONE_ACCOUNT]
                    sockets.append(stack.enter_context(logged_in(a, one)))
                if number == OF_ONE_ADDRESS:
                    # More of the address get no socket, and end none.
                    for _ in range(50):
                        with pytest.raises(InvalidStatus) as caught:
                            Socket(a)
                        assert caught.value.response.status_code == 429
            assert len(sockets) == 200
            message = pgp.encrypted(writer[0], logins[0][0], pgp.message_id())
            assert smtp.submit(a.ip, writer, [one[0] for one in logins], message).code == 250
            assert {one.new_message()["uid"] for one in sockets} == {1}
            # One more of an account is refused, and harms none.
            with Socket(a) as web:
                assert web.refused(logins[0]) == "too many connections of this account"
            assert sockets[0].result("list_messages")[0]["uid"] == 1

    def test_each_socket_gets_its_own_account_s_answers(self, a: LabHost, writer: Login) -> None:
        logins = [new_account(a) for _ in range(3)]
        texts = [armored(deliver(a, writer, one[0], one[0])) for one in logins]
        with ExitStack() as stack, ThreadPoolExecutor(12) as pool:
            sockets = [stack.enter_context(logged_in(a, one)) for one in logins * 4]
            assert [one.new_message()["uid"] for one in sockets] == [1] * 12
            # All of them name their requests r1, r2, …
            found = pool.map(lambda web: {web.result("fetch", uid=1)["body"] for _ in range(20)}, sockets)
            assert [{armored(one) for one in bodies} for bodies in found] == [{one} for one in texts * 4]

    def test_who_does_not_read_and_who_floods_harm_nobody(
        self, a: LabHost, login: Login, writer: Login, web: Socket
    ) -> None:
        with ImapMailbox(a.ip, *login) as mailbox:
            mailbox.put(b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 100_000)
        uid = web.new_message()["uid"]
        other = new_account(a)
        with logged_in(a, login) as slow, logged_in(a, login) as flood, logged_in(a, other) as bystander:
            for _ in range(30):
                slow.put({"action": "fetch", "data": {"uid": uid}})
            frame = json.dumps({"action": "list_messages", "data": {}})
            with suppress(TimeoutError, ConnectionClosed):
                while True:
                    # Until nobody takes any more, because nobody reads the answers.
                    flood.put(frame + " " * 10_000, seconds=1)
            deliver(a, writer, other[0])
            assert bystander.new_message()["uid"] == 1
            assert bystander.result("list_messages")[0]["uid"] == 1
            slow.cut()
            flood.cut()
        # A request whose answer is not read, either: it is in no file of nginx.
        with closing(http.client.HTTPSConnection(a.ip, context=any_certificate())) as unread:
            fields = {"Host": a.domain, "X-Email": login[0], "X-Password": login[1]}
            unread.request("GET", f"/webimap/message/{uid}", headers=fields)
            assert unread.getresponse().status == 200
            assert a.run("ls -l /proc/*/fd | grep /var/lib/nginx/proxy", check=False).stdout == ""
        assert web.result("fetch", uid=uid)["size"] > 7_000_000
        assert a.run("systemctl show --property=NRestarts --value chatmail-webimap").stdout.strip() == "0"

    def test_a_socket_cut_in_the_middle_of_a_send_sends_nothing(
        self, a: LabHost, login: Login, writer: Login, web: Socket
    ) -> None:
        whole, half = pgp.message_id(), pgp.message_id()
        with logged_in(a, login) as cut:
            message = pgp.encrypted(login[0], writer[0], half).decode()
            frame = json.dumps({"action": "send", "data": {"to": [writer[0]], "body": message}}).encode()
            # RFC 6455, 5.2: a masked text frame, whose mask is zero.
            head = b"\x81\xfe" + struct.pack("!H", len(frame)) + bytes(4)
            cut.cut(head + frame[: len(frame) // 2])
        message = pgp.encrypted(login[0], writer[0], whole).decode()
        assert web.result("send", to=[writer[0]], body=message) == {"status": "sent"}
        with ImapMailbox(a.ip, *writer) as mailbox:
            until("the whole one arrives", lambda: mailbox.find(whole), 20)
            assert mailbox.find(half) is None

    def test_a_restart_ends_sockets_and_the_next_one_starts_it(self, a: LabHost, login: Login) -> None:
        with logged_in(a, login) as web:
            a.run("systemctl restart chatmail-webimap.service")
            with pytest.raises(ConnectionClosed):
                web.get()
        with logged_in(a, login) as web:
            assert web.result("list_messages") == []
