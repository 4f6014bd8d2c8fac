"""`docs/bounces.md`, out of what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.bounces.causes import Cause
from tests.bounces.observe import Sight

_BEGIN = """\
# What Delta Chat shows when a message can't be delivered

Taken from the real thing: `python -m tests.bounces` (as root, see CONTRIBUTING.md) makes each cause happen in
the lab, lets two people on `_a.lab` write to one person each, and writes this page. Core {version}. The text
is what the app shows as the message's error, to the letter; addresses are made up anew each time.

There are two ways for a relay to say no. A **refusal** comes while the app submits the message, and every app
shows it. A **bounce** comes later, as a mail, which a server can't encrypt. With the app's setting
`force_encryption`, which new profiles have on, it ignores every mail that is not encrypted before it looks at
what it is, so its user goes on seeing a message that was sent. No other shape of report is taken either: the
only unencrypted mail that is looked at claims to be a request to get in contact. A bounce that claimed that
would be a lie, so none does.

So the relay refuses where it can. What is for one recipient, and is known never to arrive without asking
anybody outside, is refused at submission: an unknown user or a full mailbox on this relay, a domain that
doesn't exist, that has a null MX, that leads back to this relay, or that the operator keeps out, a private
address, an address that is malformed. What is for several is taken, for the app would show one refused
recipient as the failure of all. There, and where only the other server knows, it is a bounce: with real
status codes, of the message its header alone, and signed with DKIM. (Of a malformed recipient it says
`expanded from <"…"@malformed.invalid>` as well: in that form Postfix took it.)

What another server says for good about a recipient (5.1.1, 5.1.3, 5.1.4, 5.1.6, 5.1.10, 5.2.1, 5.2.2) the
relay remembers for a day. The next message to that recipient alone, from any sender, is a refusal in the
same words; the table below is about the first. It ends as soon as that server takes mail for the recipient,
as one of a group's, or as mail comes from there.

To see bounces as well, a user switches the setting off. Of a message to a group the app shows none even so:
it stays delivered, as it was to the others. Where a message waits until its time is up, the lab gives it
three seconds in place of two days.

| cause | status | how | `force_encryption` off | on |
|---|---|---|---|---|
"""
_OLD, _NEW = "with `force_encryption` off", "with it on, the default"
_NOTHING = "Nothing: the message looks delivered."


@dataclass(frozen=True)
class Scene:
    """One cause, and what the owner of an old profile (which takes unencrypted mail) and of a new one saw."""

    cause: Cause
    old: Sight
    new: Sight


def page(version: str, scenes: Iterable[Scene]) -> str:
    """The whole page."""
    scenes = list(scenes)
    table = [
        f"| {one.cause.title} | {one.cause.status} | {'refusal' if one.cause.early else 'bounce'} "
        f"| {_shown(one.old)} | {_shown(one.new)} |\n"
        for one in scenes
    ]
    return _BEGIN.format(version=version) + "".join(table) + "".join(map(_section, scenes))


def _shown(sight: Sight) -> str:
    return "shown" if sight.error else "not shown"


def _section(scene: Scene) -> str:
    title = f"\n## {scene.cause.title}\n"
    if scene.old.error and _alike(scene.old) == _alike(scene.new):
        return title + _transcript("Both profiles", scene.old)
    return title + _transcript(_OLD.capitalize(), scene.old) + _transcript(_NEW.capitalize(), scene.new)


def _alike(sight: Sight) -> str:
    """The error without what is another each time: addresses, and how lines are broken after them."""
    return " ".join(word for word in sight.error.split() if "@" not in word)


def _transcript(who: str, sight: Sight) -> str:
    if not sight.error:
        return f"\n{who}: {_NOTHING}\n"
    lines = "\n".join(line.rstrip() for line in sight.error.strip().splitlines())
    return f"\n{who}, after {sight.seconds:.1f} s:\n\n```\n{lines}\n```\n"
