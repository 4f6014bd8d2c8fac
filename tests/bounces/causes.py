"""The causes, as a table: how each is brought about in the lab, whom to write to, and the status to expect.

The sender lives on _a.lab, whose users' mail it is all about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from tests.chat import capture, relay, settings
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.lab import Lab
from tests.lab.host import LabHost

# Makes the cause happen while the block runs; gives the address to write to.
Circumstances = Callable[[Lab], AbstractContextManager[str]]

# How long a message is tried where time has to run out, in place of two days.
PATIENCE = "3s"
# More than any mailbox may hold. Dovecot believes the size in a file's name.
_HUGE = 600_000_000


@dataclass(frozen=True)
class BounceCause:
    """`status` as in RFC 3463. `early`: refused at submission where it is for one recipient. `times_out`: the
    bounce comes when the time is up. `encrypted`: else the sender tries in clear."""

    title: str
    status: str
    circumstances: Circumstances
    early: bool = False
    times_out: bool = False
    encrypted: bool = True


def _nobody(domain: str) -> Circumstances:
    return lambda _lab: nullcontext(fresh_address(domain, "nobody"))


@contextmanager
def _blocked_there(lab: Lab) -> Iterator[str]:
    here, there = lab.host("a"), lab.host("b")
    with _in_force(there, ("block", "add", here.domain), ("block", "remove", here.domain)):
        yield _somebody(there)


@contextmanager
def _blocked_here(lab: Lab) -> Iterator[str]:
    here, there = lab.host("a"), lab.host("b")
    with _in_force(here, ("block", "add", there.domain), ("block", "remove", there.domain)):
        yield _somebody(there)


@contextmanager
def _federation_closed(lab: Lab) -> Iterator[str]:
    here, there = lab.host("a"), lab.host("b")
    with _in_force(here, ("federation", "closed"), ("federation", "open")):
        yield _somebody(there)


@contextmanager
def _in_force(host: LabHost, order: Sequence[str], reverse: Sequence[str]) -> Iterator[None]:
    """What `chatmailctl` is ordered on this host, while the block runs."""
    relay.operate(host, *order)
    try:
        yield
    finally:
        relay.operate(host, *reverse)


def full_mailbox(name: str) -> Circumstances:
    @contextmanager
    def full(lab: Lab) -> Iterator[str]:
        host = lab.host(name)
        address = _somebody(host)
        home = host.run(["doveadm", "user", "-f", "home", address]).stdout.strip()
        file = f"{home}/Maildir/new/1.M1P1.full,S={_HUGE},W={_HUGE}"
        # A header that doveadm can read, and a hole as large as the name says.
        host.run(
            f"printf 'From: x@full.example\\r\\n\\r\\n' > '{file}' && truncate -s {_HUGE} '{file}'"
            f" && chmod 600 '{file}' && chown --reference='{home}' '{file}'"
        )
        yield address

    return full


@contextmanager
def _silent(lab: Lab) -> Iterator[str]:
    with settings.impatient(lab.host("a"), PATIENCE):
        yield fresh_address("dead.lab")


@contextmanager
def _without_tls(lab: Lab) -> Iterator[str]:
    with settings.impatient(lab.host("a"), PATIENCE), capture.smtp_peer(lab.host("client").host):
        yield fresh_address("tls.lab")


@contextmanager
def _in_clear(lab: Lab) -> Iterator[str]:
    yield _somebody(lab.host("b"))


def _somebody(host: LabHost) -> str:
    """The address of an account that is there."""
    address = fresh_address(host.domain)
    with ImapMailbox(host.ip, address, fresh_password()):
        return address


CAUSES = (
    BounceCause("Unknown user, on the sender's relay", "5.1.1", _nobody("_a.lab"), early=True),
    BounceCause("Unknown user, on another chatmail relay", "5.1.1", _nobody("_b.lab")),
    BounceCause("Unknown user, on an ordinary mail server", "5.1.1", _nobody("mta.lab")),
    BounceCause("The mailbox is full, on the sender's relay", "5.2.2", full_mailbox("a"), early=True),
    BounceCause("The mailbox is full, on another relay", "5.2.2", full_mailbox("b")),
    BounceCause("The message is not encrypted", "5.7.1", _in_clear, early=True, encrypted=False),
    BounceCause("The other relay refuses: its operator blocks the sender's domain", "5.7.1", _blocked_there),
    BounceCause("The sender's operator blocks the other domain", "5.7.1", _blocked_here, early=True),
    BounceCause("The sender's relay has closed its federation", "5.7.1", _federation_closed, early=True),
    BounceCause("The domain does not exist", "5.1.2", _nobody("nowhere.lab"), early=True),
    BounceCause("The domain accepts no mail (null MX)", "5.1.10", _nobody("nullmx.lab"), early=True),
    BounceCause("The domain's MX is the sender's own relay", "5.4.6", _nobody("ours.lab"), early=True),
    BounceCause("The domain is a private address", "5.1.2", _nobody("[10.0.0.1]"), early=True),
    BounceCause("The other server never answered", "4.4.1", _silent, times_out=True),
    BounceCause("The other server has no TLS, and no HTTPS", "4.4.1", _without_tls, times_out=True),
)
