"""Hand-overs whose answer was cut off, from what the journals of both relays say: how many duplicates may be.

Who hands a message over and hears no answer has to do it again, and if the other had taken it, there are two.
Each of those who hand over logs it: Postfix's smtp(8) and lmtp(8), or the queue manager when one died; our
relay when HTTPS ended without an answer, our app when Postfix did. A connection that could not be made is
none. When all of Postfix is killed, nobody is left to log it: then messages that were active become active
once more, and as many as there were delivery agents may have been handed over.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tests.chat.journal import LoggedEntry
from tests.chat.queue_log import queue_files

# Of smtp(8) and lmtp(8), in the words of `status=deferred`; and the queue manager's when an agent is gone.
_POSTFIX = re.compile(
    r"may be sent more than once|while sending (?:message body|end of data)|unknown mail transport error"
)
# Slugs of the relay for an exchange that began; a front server without its app says the rest.
_HTTPS = re.compile(r"event=https-failed .* reason=(?:timeout|network|protocol|http-50[0-9])(?: queue=\S+)?$")
# Of the app and of the way back to Postfix: not where nobody was there in the first place.
_OURS = re.compile(
    r"event=(?:repeated |queue-away error=\"(?:hung up|read: |the reply)"
    r"|reinject-failed error=(?!ConnectionRefused))"
)


def cut_off(entries: Iterable[LoggedEntry], agents: int = 0) -> Counter[str]:
    """How many, by who could not hear the answer. `agents`: how many of Postfix's died with it."""
    found: Counter[str] = Counter()
    ordered = sorted(entries, key=lambda entry: entry.at)
    for entry in ordered:
        if _HTTPS.search(entry.text):
            found["HTTPS"] += 1
        elif _OURS.search(entry.text):
            found["ours"] += 1
    found["Postfix"] += _unanswered(ordered) + min(agents, _active_again(ordered))
    return +found


def _unanswered(entries: Sequence[LoggedEntry]) -> int:
    """How often smtp(8) or lmtp(8) had sent a message and was not told, or died of it."""
    deliveries = [one for file in queue_files(entries) for one in file.deliveries]
    return sum(one.status == "deferred" and bool(_POSTFIX.search(one.text)) for one in deliveries)


def _active_again(entries: Sequence[LoggedEntry]) -> int:
    """How often a message became active that was so already, neither delivered nor put off since."""
    active: set[str] = set()
    times = 0
    for entry in entries:
        queue_id, _, text = entry.text.partition(": ")
        if not entry.who.startswith("postfix"):
            continue
        if text.startswith("from=<") and "queue active" in text:
            times += queue_id in active
            active.add(queue_id)
        elif "status=" in text or text == "removed":
            active.discard(queue_id)
    return times


def delivered_twice(entries: Iterable[LoggedEntry]) -> int:
    """How often Postfix delivered a message again though it had heard that it was taken. Never."""
    taken: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file in queue_files(sorted(entries, key=lambda entry: entry.at)):
        taken[file.id].update(one.recipient for one in file.deliveries if one.status == "sent")
    return sum(times - 1 for counted in taken.values() for times in counted.values())
