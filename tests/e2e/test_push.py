"""Push notices and METADATA, with a real IMAP client, real mail and a test gateway."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.chat import imap, smtp
from tests.chat.deadline import until
from tests.chat.gateway import Gateway, answer, says
from tests.chat.imap import ImapMailbox, new_account
from tests.e2e.conftest import Login
from tests.lab import Lab, ca
from tests.lab.host import LabHost
from tests.lab.sockets import bound

# In the lab's zone, at the address where the clients are.
NAME, PORT = "peer.lab", 8443
SECONDS = 30.0
CONFIGURATION = "/etc/chatmail/chatmail.toml"


@pytest.fixture(scope="module")
def _gateway(lab: Lab, b: LabHost) -> Iterator[Gateway]:
    """The gateway of _b.lab, which tries again after a tenth of a second."""
    listening = bound(lab.host("client").host, PORT)
    gateway = Gateway(listening, *ca.issue(lab.paths.ca, [NAME]))
    before = b.run(["cat", CONFIGURATION]).stdout
    url = f'gateway = "https://{NAME}:{PORT}/notify"\nretry = "100ms"'
    b.run(f"sed -i 's|^gateway = .*|{url.replace(chr(10), chr(92) + 'n')}|' {CONFIGURATION}")
    b.run(["systemctl", "restart", "chatmail-push"])
    yield gateway
    b.run(f"cat > {CONFIGURATION}", input=before)
    b.run(["systemctl", "restart", "chatmail-push"])
    gateway.close()


@pytest.fixture
def gateway(_gateway: Gateway) -> Gateway:
    _gateway.script = answer(200)
    _gateway.told.clear()
    return _gateway


@pytest.fixture
def dora(b: LabHost) -> Login:
    """A new account on _b.lab."""
    return new_account(b)


def give(b: LabHost, login: Login, token: str) -> None:
    """As Delta Chat gives the token of its device."""
    literal = b"{%d+}\r\n%s" % (len(token), token.encode())
    with ImapMailbox(b.ip, *login) as mailbox:
        assert mailbox.ask(b"SETMETADATA INBOX (/private/devicetoken " + literal + b")")[-1].startswith(b"OK")
    gone(b, login)


def gone(b: LabHost, login: Login) -> None:
    """Wait until Dovecot has noticed that nobody is connected any more."""
    until("the client is gone", lambda: login[0] not in b.run(["doveadm", "who"]).stdout, SECONDS)


def told(gateway: Gateway, *tokens: str) -> None:
    """Wait until it is told of these, each once. A notice of a test before this one may come late."""

    def of_these() -> list[str]:
        return sorted(one for one in gateway.told if one in tokens)

    until("the gateway is told", lambda: len(of_these()) >= len(tokens), SECONDS)
    assert of_these() == sorted(tokens)


def test_what_a_chatmail_relay_can_do_is_told_after_login_only(b: LabHost, dora: Login) -> None:
    ours = {"XCHATMAIL", "XDELTAPUSH"}
    assert not ours & set(imap.capabilities(b.ip))
    # Delta Chat reads those in the answer to LOGIN; others ask.
    assert ours | {"METADATA"} <= imap.told_at_login(b.ip, dora)
    with ImapMailbox(b.ip, *dora) as mailbox:
        assert ours | {"METADATA"} <= set(mailbox.ask(b"CAPABILITY")[0].decode().split())


def test_an_app_learns_how_many_recipients_a_message_may_have(b: LabHost, dora: Login) -> None:
    with ImapMailbox(b.ip, *dora) as mailbox:
        told = mailbox.ask(b'GETMETADATA "" (/shared/vendor/deltachat/maxsmtprecipients)')
        assert told[:2] == [b'* METADATA "" (/shared/vendor/deltachat/maxsmtprecipients {4}', b"1000)"]
        nothing = mailbox.ask(b'GETMETADATA "" (/shared/vendor/deltachat/irohrelay /shared/comment)')
        assert nothing[0].count(b"NIL") == 2
        entry = b'SETMETADATA "" (/shared/vendor/deltachat/maxsmtprecipients "1")'
        assert mailbox.ask(entry)[-1].startswith(b"NO")


def test_every_device_is_told_while_nobody_is_connected(
    b: LabHost, dora: Login, reader: Login, gateway: Gateway
) -> None:
    for token in ("token-phone", "token-tablet"):
        give(b, dora, token)
    smtp.send(b.ip, reader, dora[0])
    told(gateway, "token-phone", "token-tablet")


def test_nobody_is_told_while_a_client_idles_awake_or_asleep(
    b: LabHost, dora: Login, reader: Login, gateway: Gateway
) -> None:
    give(b, dora, "token-idle")
    with ImapMailbox(b.ip, *dora) as mailbox:
        for _ in range(2):
            before = b.cursor()
            mailbox.begin_idle()
            smtp.send(b.ip, reader, dora[0])
            mailbox.wait_exists()
            mailbox.end_idle()
            until("it is seen that a client is connected", partial(decided, b, before), SECONDS)
    gone(b, dora)
    # Had they been told of the others, they would have been before this.
    smtp.send(b.ip, reader, dora[0])
    told(gateway, "token-idle")


def decided(host: LabHost, since: str) -> bool:
    return any("outcome=connected" in str(one.get("MESSAGE")) for one in host.journal(since=since))


def test_nobody_is_told_of_mail_to_oneself(b: LabHost, dora: Login, reader: Login, gateway: Gateway) -> None:
    give(b, dora, "token-self")
    smtp.send(b.ip, dora, dora[0])
    with ImapMailbox(b.ip, *dora) as mailbox:
        until("it is there", mailbox.messages, SECONDS)
    gone(b, dora)
    assert "token-self" not in gateway.told
    smtp.send(b.ip, reader, dora[0])
    told(gateway, "token-self")


def test_a_notice_outlives_an_ill_gateway_and_a_restart(
    b: LabHost, dora: Login, reader: Login, gateway: Gateway
) -> None:
    give(b, dora, "token-ill")
    gateway.script = says(b"no HTTP")
    smtp.send(b.ip, reader, dora[0])
    until("it is tried", lambda: gateway.told.count("token-ill") >= 2, SECONDS)
    b.run(["systemctl", "kill", "--signal=KILL", "chatmail-push"])
    gateway.script = answer(200)
    tried = gateway.told.count("token-ill")
    until("it is told", lambda: gateway.told.count("token-ill") > tried, SECONDS * 2)


def test_a_token_that_no_device_has_is_forgotten(
    b: LabHost, dora: Login, reader: Login, gateway: Gateway
) -> None:
    give(b, dora, "token-gone")
    gateway.script = answer(410)
    smtp.send(b.ip, reader, dora[0])
    told(gateway, "token-gone")

    def forgotten() -> bool:
        with ImapMailbox(b.ip, *dora) as mailbox:
            return mailbox.ask(b"GETMETADATA INBOX /private/devicetoken")[0].endswith(b"NIL)")

    until("it is forgotten", forgotten, SECONDS)


@pytest.mark.parametrize("size", [4097, 70_000, 2_000_000])
def test_a_token_that_is_too_long_is_refused(b: LabHost, dora: Login, size: int) -> None:
    with ImapMailbox(b.ip, *dora) as mailbox:
        literal = b"{%d+}\r\n%s" % (size, (b"toolong-" * size)[:size])
        command = b"SETMETADATA INBOX (/private/devicetoken " + literal + b")"
        assert mailbox.ask(command)[-1].startswith(b"NO")
        assert mailbox.ask(b"NOOP")[-1].startswith(b"OK")
        assert mailbox.ask(b"GETMETADATA INBOX /private/devicetoken")[0].endswith(b"NIL)")


def test_no_token_is_in_any_log(b: LabHost, gateway: Gateway) -> None:
    """Of all tests before this one. Nor is an address in ours."""
    b.sync_journal()
    tokens = "token-(phone|tablet|idle|self|ill|gone)|toolong-"
    assert b.run(["journalctl", "--grep", tokens, "--quiet"], check=False).stdout == ""
    ours = b.run(["journalctl", "-u", "chatmail-push", "--quiet", "--output=cat"]).stdout
    assert "event=notice" in ours
    assert "@" not in ours


def test_the_unit_is_hardened(b: LabHost) -> None:
    said = b.run(["systemd-analyze", "security", "--threshold=20", "chatmail-push.service"], check=False)
    assert said.returncode == 0, said.stdout
