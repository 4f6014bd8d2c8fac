"""The stories of the demo, in the order they are played. Each sees something happen, or raises.

What a story saw comes from the clients, the journals and the relays' own counts; a road is never assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import time

from tests.chat import firewall, hops, journal, pgp, relay, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.hops import Trace
from tests.chat.person import Person
from tests.chat.queue_log import LoggedDelivery, queue_files
from tests.chat.stage import FIVE_MEGABYTES, Stage
from tests.demo.outcome import SeenByStory
from tests.lab.host import LabHost

BOUNCE_SECONDS = 45.0


class UntrueError(AssertionError):
    """Something else happened than the story tells."""


class Cast:
    """The stage and the two people, who come on in the first story."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.a, self.b, self.mta = (stage.lab.host(name) for name in ("a", "b", "mta"))
        self.alice: Person
        self.bob: Person


@dataclass(frozen=True)
class Story:
    """`needed`: nothing after it makes sense without it."""

    title: str
    seconds: float
    play: Callable[[Cast], SeenByStory]
    needed: bool = False


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise UntrueError(otherwise)


def accounts(cast: Cast) -> SeenByStory:
    """Both accounts come into being by logging in."""
    began = time()
    cast.alice = cast.stage.newcomer(cast.a.domain)
    cast.bob = cast.stage.newcomer(cast.b.domain)
    # So that she sees bounces, and may try to write in clear.
    cast.alice.accept_cleartext()
    return SeenByStory(f"{cast.alice.address} and {cast.bob.address} in {time() - began:.1f} s")


def secure_join(cast: Cast) -> SeenByStory:
    """Bob scans Alice's code; every message of the handshake crosses by HTTPS."""
    began = time()
    cast.stage.acquaint(cast.alice, cast.bob)
    took = time() - began
    people = {cast.alice.address, cast.bob.address}
    hosts = (cast.a, cast.b)
    roads = [road for host in hosts for road in hops.inbound_roads(journal.read(host, began), people)]
    _expect(bool(roads) and set(roads) == {"https"}, f"the handshake came by {roads or 'no road'}")
    return SeenByStory(f"both ends verified after {len(roads)} messages, {took:.1f} s", "https")


def text_to_bob(cast: Cast) -> SeenByStory:
    """A text from _a.lab to _b.lab."""
    return _https(cast, cast.alice, cast.bob, lambda: cast.stage.text(cast.alice, cast.bob).trace)


def text_to_alice(cast: Cast) -> SeenByStory:
    """A text the other way."""
    return _https(cast, cast.bob, cast.alice, lambda: cast.stage.text(cast.bob, cast.alice).trace)


def attachment(cast: Cast) -> SeenByStory:
    """5 MB, octet for octet."""
    return _https(
        cast, cast.alice, cast.bob, lambda: cast.stage.file(cast.alice, cast.bob, FIVE_MEGABYTES).trace
    )


def unknown_user(cast: Cast) -> SeenByStory:
    """Mail to nobody at _b.lab comes back."""
    return _bounced(cast, cast.b.domain, "550 5.1.1")


def plaintext_submission(cast: Cast) -> SeenByStory:
    """Alice's Delta Chat tries, then her login by hand."""
    sent = cast.alice.send(cast.alice.chat_in_clear(cast.bob.address), "hello in clear")
    _, error = cast.alice.failed(sent, BOUNCE_SECONDS)
    _expect("Encryption Needed: Invalid Unencrypted Mail" in error, f"Delta Chat shows {error!r}")
    message = pgp.plain(cast.alice.address, cast.bob.address, pgp.message_id())
    reply = smtp.submit(cast.a.ip, (cast.alice.address, cast.alice.password), [cast.bob.address], message)
    _expect(reply.line.startswith("523 5.7.1 Encryption Needed"), f"the relay said {reply.line}")
    return SeenByStory(f"{reply.line} (after {reply.stage}); Delta Chat shows it too")


def plaintext_from_mta(cast: Cast) -> SeenByStory:
    """An ordinary server sends Alice an ordinary mail."""
    mid = pgp.message_id(cast.mta.domain)
    message = pgp.plain(CAROL, cast.alice.address, mid)
    return _refused_at_mta(cast, mid, message, "523 5.7.1 Encryption Needed")


def unsigned_from_mta(cast: Cast) -> SeenByStory:
    """The same encrypted, from a domain that mta.lab does not sign for."""
    mid = pgp.message_id(cast.mta.domain)
    message = pgp.encrypted("carol@unsigned.lab", cast.alice.address, mid)
    return _refused_at_mta(cast, mid, message, "554 5.7.1 No DKIM signature found")


def to_mta(cast: Cast) -> SeenByStory:
    """Alice writes to someone whose server speaks only SMTP."""
    before = relay.successes(cast.a, cast.mta.domain, "smtp")
    sent = cast.alice.send(cast.alice.chat_with_stranger(CAROL), "hello, plain world")
    cast.alice.sent(sent, BOUNCE_SECONDS)

    def arrived() -> LoggedDelivery | None:
        files = queue_files(journal.read(cast.mta, sent.at - 0.5))
        found = [file for file in files if file.message_id == sent.message_id]
        return next((one for file in found for one in file.deliveries if one.status == "sent"), None)

    delivery = until("the mail lies in Carol's mailbox", arrived, BOUNCE_SECONDS, every=0.3)
    _counted(cast.a, cast.mta.domain, "smtp", before)
    return SeenByStory(f"{delivery.text} on {cast.mta.domain} after {delivery.ended - sent.at:.1f} s", "smtp")


def unknown_at_mta(cast: Cast) -> SeenByStory:
    """And to nobody there."""
    return _bounced(cast, cast.mta.domain, "550 5.1.1")


def text_without_https(cast: Cast) -> SeenByStory:
    """Bob's relay takes no HTTPS for the moment: SMTP."""
    with firewall.closed(cast.b, 443, "refuse"):
        return _smtp(cast, lambda: cast.stage.text(cast.alice, cast.bob).trace)


def attachment_without_https(cast: Cast) -> SeenByStory:
    """5 MB by that road."""
    with firewall.closed(cast.b, 443, "refuse"):
        return _smtp(cast, lambda: cast.stage.file(cast.alice, cast.bob, FIVE_MEGABYTES).trace)


STORIES = (
    Story("accounts by first login", 60, accounts, needed=True),
    Story("SecureJoin across", 60, secure_join, needed=True),
    Story("text, _a.lab to _b.lab", 45, text_to_bob),
    Story("text, _b.lab to _a.lab", 45, text_to_alice),
    Story("attachment of 5 MB", 75, attachment),
    Story("to an unknown user at _b.lab", 60, unknown_user),
    Story("unencrypted submission", 30, plaintext_submission),
    Story("unencrypted from mta.lab", 60, plaintext_from_mta),
    Story("encrypted, unsigned from mta.lab", 60, unsigned_from_mta),
    Story("to a user at mta.lab", 60, to_mta),
    Story("to an unknown user at mta.lab", 60, unknown_at_mta),
    Story("text, peer's 443 closed", 60, text_without_https),
    Story("attachment of 5 MB, peer's 443 closed", 90, attachment_without_https),
)


def _https(cast: Cast, sender: Person, receiver: Person, pass_on: Callable[[], Trace]) -> SeenByStory:
    here, peer = cast.stage.host_of(sender.address), receiver.address.partition("@")[2]
    before = relay.successes(here, peer, "https")
    trace = pass_on()
    _expect(trace.road == "https", f"it came by {trace.road}")
    _counted(here, peer, "https", before)
    return SeenByStory("shown by the receiver's Delta Chat", trace.road, trace)


def _counted(host: LabHost, peer: str, road: str, before: int) -> None:
    """Counts reach the store half a second after the delivery, or with Postfix's log line."""

    def counted() -> bool:
        return relay.successes(host, peer, road) > before

    until(f"{host.domain} counts a delivery to {peer} by {road}", counted, 10, every=0.2)


def _smtp(cast: Cast, pass_on: Callable[[], Trace]) -> SeenByStory:
    trace = pass_on()
    _expect(trace.road == "smtp", f"it came by {trace.road}")
    return SeenByStory("shown by the receiver's Delta Chat", trace.road, trace)


def _bounced(cast: Cast, domain: str, reason: str) -> SeenByStory:
    sent = cast.alice.send(cast.alice.chat_with_stranger(f"nobody12345@{domain}"), "is anyone there?")
    cast.alice.sent(sent, BOUNCE_SECONDS)
    event, error = cast.alice.failed(sent, BOUNCE_SECONDS)
    _expect(reason in error, f"Delta Chat shows {error!r}")
    roads = {one.agent: one for one in _attempts(cast, sent.message_id, sent.at)}
    road = "smtp" if any("smtp-mx" in agent for agent in roads) else "https"
    words = " ".join(error.split())
    words = words[words.index(reason) :][:80]
    return SeenByStory(f"Delta Chat shows after {event.at - sent.at:.1f} s: {words}…", road)


def _attempts(cast: Cast, message_id: str, since: float) -> list[LoggedDelivery]:
    files = queue_files(journal.read(cast.a, since - 0.5))
    return [one for file in files if file.message_id == message_id for one in file.deliveries]


def _refused_at_mta(cast: Cast, message_id: str, message: bytes, reason: str) -> SeenByStory:
    began = time()
    reply = smtp.deliver(cast.mta.ip, CAROL, [cast.alice.address], message)
    _expect(reply.code == 250, f"mta.lab itself said {reply.line}")

    def refused() -> LoggedDelivery | None:
        files = queue_files(journal.read(cast.mta, began - 0.5))
        found = [file for file in files if file.message_id == message_id]
        return next((one for file in found for one in file.deliveries if one.status == "bounced"), None)

    delivery = until("mta.lab bounces it", refused, BOUNCE_SECONDS, every=0.3)
    _expect(reason in delivery.text, f"mta.lab bounced it for {delivery.text}")
    return SeenByStory(f"bounced by mta.lab: {reason}", "smtp")
