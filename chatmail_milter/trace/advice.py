"""What an operator can do next about a message: whom to ask, for what, and which commands to run. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from chatmail_milter.trace.ways import TracedRecipient, Way

_ROADS = {"https": "HTTPS", "smtp": "SMTP"}


def advice(way: Way) -> list[str]:
    """Sentences, each once; none where all of the message is in mailboxes here."""
    found = [sentence for one in way.recipients for sentence in _about(way, one)]
    return list(dict.fromkeys(found))


def _about(way: Way, one: TracedRecipient) -> Iterator[str]:
    domain = one.address.rpartition("@")[2]
    when = f"{one.at:%Y-%m-%d %H:%M:%S} UTC"
    road = _ROADS.get(one.road)
    if one.state == "delivered" and road is not None:
        named = (
            f"queue ID {one.peer_queue_id}"
            if one.peer_queue_id
            else f"Message-ID {way.message_id or 'unknown'}"
        )
        yield f"Ask the operator of {domain} for {named}: taken by {road} at {when}, with: {one.answer}"
    elif one.state == "waiting" and road is not None:
        yield f"Ask the operator of {domain} why it said at {when}, by {road}: {one.answer}"
        yield f"See `chatmailctl peers show {domain}` and `chatmailctl probe {domain}`."
        yield f"`chatmailctl queue flush {domain}` tries it now."
    elif one.state == "waiting":
        yield f"Dovecot put it off at {when}: see `chatmailctl doctor`."
    elif one.state == "returned":
        yield f"The bounce to the sender says why: {one.answer}"
    elif one.state == "refused":
        yield f"Who sent it was told: {one.answer}"
