"""Where each message is: in a mailbox, in a queue, or reported to its sender by a bounce.

Read from the disks, not asked of the servers: of a relay that is broken, too. What a Maildir has in `tmp`,
and what Postfix is still writing (its mode says so) or has put away as corrupt, is nowhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.lab.host import LabHost

# Prints {"delivered" | "bounced" | "queued": [Message-ID, …]} of those whose ids begin with the argument.
_LOOK = r"""
import glob, json, os, re, sys
tag = re.escape(sys.argv[1].encode())
own = re.compile(rb"(?im)^message-id:\s*<(" + tag + rb"\.[^>]*)>")
found = {"delivered": [], "bounced": [], "queued": []}
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
for path in glob.glob("/var/vmail/*/*/Maildir/new/*") + glob.glob("/var/vmail/*/*/Maildir/cur/*"):
    text = read(path)
    place = "bounced" if b"multipart/report" in text else "delivered"
    found[place] += {one.decode() for one in own.findall(text)}
for queue in ("maildrop", "incoming", "active", "deferred", "hold"):
    for directory, _, names in os.walk("/var/spool/postfix/" + queue):
        for path in (os.path.join(directory, name) for name in names):
            try:
                if os.stat(path).st_mode & 0o100 == 0:
                    continue
            except FileNotFoundError:
                continue
            text = read(path)
            ids = {one.decode() for one in re.findall(rb"(?i)message-id:\s*<(" + tag + rb"\.[^>]*)>", text)}
            found["bounced" if b"multipart/report" in text else "queued"] += ids
json.dump(found, sys.stdout)
"""


@dataclass(frozen=True)
class Census:
    """How often each Message-ID is in each place, on both relays together."""

    delivered: Counter[str] = field(default_factory=Counter)
    bounced: Counter[str] = field(default_factory=Counter)
    queued: Counter[str] = field(default_factory=Counter)

    @property
    def duplicates(self) -> int:
        """Copies in mailboxes beyond the first of each message."""
        return sum(copies - 1 for copies in self.delivered.values())

    def places(self, mid: str) -> int:
        """In how many of the three places a message is."""
        return sum(mid in place for place in (self.delivered, self.bounced, self.queued))


def take(hosts: Sequence[LabHost], tag: str) -> Census:
    """Look on every host for messages whose ids begin with `tag`."""
    census = Census()
    for host in hosts:
        found = json.loads(host.run(["python3", "-c", _LOOK, tag]).stdout)
        for place in ("delivered", "bounced", "queued"):
            getattr(census, place).update(found[place])
    return census


def queue_lengths(hosts: Sequence[LabHost]) -> list[int]:
    """How many messages Postfix has on each host, delivered ones not yet removed included.

    What a killed Postfix had not yet written to the end is none: it told nobody that it took that.
    """
    places = "maildrop incoming active deferred hold corrupt"
    count = f"cd /var/spool/postfix && find {places} -type f -perm -u+x | wc -l"
    return [int(host.run(count).stdout) for host in hosts]
