"""Names that a stranger tries, and a user who sends to thousands of recipients."""

from __future__ import annotations

import itertools
import smtplib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.attacks import strangers
from tests.attacks.trial import Attack, AttackScene
from tests.chat import pgp, smtp
from tests.chat.deadline import until
from tests.chat.imap import new_account
from tests.chat.person import fresh_address, fresh_password

_SENDER = "someone12345@peer.lab"
# The relay's limits: what one peer is told at once, and a minute; what a user sends at once, and a minute.
_UNKNOWN, _UNKNOWN_MINUTE = 2000, 60
_SENT, _SENT_MINUTE = 5000, 1000
_MOST_RECIPIENTS = 1000
# Of an attacker's own request.
_TIMEOUT = 60.0


@contextmanager
def names_on_25(scene: AttackScene) -> Iterator[str]:
    """8 sessions of one address try a name after the other, and now and then one that exists."""
    account = new_account(scene.host)
    [source] = scene.ipv4(1)
    said: Counter[int] = Counter()
    about_the_account: list[int] = []
    names = itertools.count()
    began = time.monotonic()

    def session(_: int) -> None:
        with (
            suppress(smtplib.SMTPException),
            smtplib.SMTP(
                scene.host.ip, 25, local_hostname="x.invalid", timeout=_TIMEOUT, source_address=(source, 0)
            ) as talk,
        ):
            talk.ehlo()
            talk.mail(_SENDER)
            for _ in range(900):
                said[talk.rcpt(f"try{next(names):09}@{scene.host.domain}")[0]] += 1
            if said[450]:
                about_the_account.append(talk.rcpt(account[0])[0])

    with strangers.flooding(session, 8, 200):
        until("the relay tells no more", lambda: about_the_account, 60)
        yield f"{said[550]} names told, {said[450]} not"
    minutes = (time.monotonic() - began) / 60
    assert said[550] <= _UNKNOWN + _UNKNOWN_MINUTE * (minutes + 1), f"{said} in {minutes:.1f} minutes"
    assert about_the_account[0] == 450, f"an account was told from other names: {about_the_account}"


@contextmanager
def a_user_to_thousands(scene: AttackScene) -> Iterator[str]:
    """A user sends to a thousand recipients each time, as often as the relay lets it."""
    login = fresh_address(scene.host.domain), fresh_password()
    message = pgp.encrypted(login[0], f"u0@{scene.host.domain}", pgp.message_id())
    # RFC 2606: they come back at once. 10 at once and 60 messages a minute would be 10,000 and 60,000.
    crowd = [f"u{number}@nowhere.invalid" for number in range(_MOST_RECIPIENTS)]
    began = time.monotonic()
    sent = refused = 0
    for _ in range(9):
        reply = smtp.submit(scene.host.ip, login, crowd, message)
        sent += _MOST_RECIPIENTS * (reply.code == 250)
        refused += reply.line.startswith("450 4.7.1: Too much mail from")
    yield f"{sent} recipients in {time.monotonic() - began:.0f} s"
    minutes = (time.monotonic() - began) / 60
    assert refused, "the relay refused no message"
    assert sent <= _SENT + _MOST_RECIPIENTS + _SENT_MINUTE * (minutes + 1), f"{sent} in {minutes:.1f} minutes"


ATTACKS = (
    Attack("names tried on 25, one address", names_on_25),
    Attack("a user sends to a thousand recipients each time", a_user_to_thousands),
)
