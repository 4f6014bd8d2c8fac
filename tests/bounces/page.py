"""`docs/bounces.md`, out of what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.bounces.causes import BounceCause
from tests.bounces.observe import Sight

_BEGIN = """\
# What Delta Chat shows when a message can't be delivered

This page is generated: `python -m tests.bounces` (as root, see CONTRIBUTING.md) produces each cause in the
lab. Two users of `_a.lab`, with different settings, each write to one recipient. Delta Chat core {version}.
The texts below are those that the app shows as the message's error. Addresses are new in each run.

A relay can reject a message in two ways. A **refusal** is the reply to the app while it submits the
message, and every app shows it. A **bounce** is a mail that comes later, and a server can't encrypt it.
With the app's setting `force_encryption`, which is on in new profiles, the app ignores every mail that is
not encrypted. The user then sees the message as sent. Another form of delivery report would not help:
the only unencrypted mail that such an app reads is a request to become a contact.

So the relay refuses a message during submission if it has one recipient and the relay knows, without asking
another server, that it can't be delivered: unknown user or full mailbox on this relay; a domain that does
not exist, has a null MX, leads back to this relay, or is excluded by the operator; a private address; a
malformed address. The relay accepts a message with several recipients, because the app would show one
refused recipient as a failure for all. In that case, and if only the other server knows, the sender gets a
bounce. The bounce has the status codes of the failure and only the header of the message, and is signed with
DKIM. (For a malformed recipient it also says `expanded from <"…"@malformed.invalid>`, the form in which
Postfix accepted it.) In a refusal, Postfix writes some status codes with another last number, such as 5.1.0
for 5.1.10.

If another server refuses a recipient permanently (5.1.1, 5.1.3, 5.1.4, 5.1.6, 5.1.10, 5.2.1, 5.2.2), the
relay stores the refusal for a day. It refuses the next message to that recipient alone, from any sender,
during submission with the same text. The table below is about the first message. The relay deletes the
refusal as soon as the server accepts mail for the recipient, for example in a message to a group, or mail
from the recipient arrives.

A user who turns `force_encryption` off also sees bounces, but not those of a message to a group: the app
shows that message as delivered, because the other members got it. A message that can't be delivered waits
until its lifetime ends: three seconds in the lab, two days on a real relay.

| cause | status | how | `force_encryption` off | on |
|---|---|---|---|---|
"""
_OLD, _NEW = "with `force_encryption` off", "with it on, the default"
_NOTHING = "nothing, the message looks delivered."


@dataclass(frozen=True)
class BounceScene:
    """One cause, and what the owner of an old profile (which takes unencrypted mail) and of a new one saw."""

    cause: BounceCause
    old: Sight
    new: Sight


def page(version: str, scenes: Iterable[BounceScene]) -> str:
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


def _section(scene: BounceScene) -> str:
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
