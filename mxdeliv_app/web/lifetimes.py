"""The table of the privacy page: what data the relay keeps and for how long, by the present settings.

docs/keeping.md has the same for operators, with the mechanisms.
"""

from __future__ import annotations

from chatmail_milter.config import Config
from chatmail_milter.store import REFUSALS_KEPT, TRAFFIC_KEPT

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_SIZES = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def lifetimes(settings: Config) -> tuple[tuple[str, str], ...]:
    """Rows of (what is kept, for how long), as texts."""
    expiry, push, pages = settings.expiry, settings.push, settings.pages
    rows = [("Messages, encrypted", _until(expiry.mail, "until your app deletes them", "after they arrived"))]
    if expiry.large_mail:
        what = f"Messages of more than {size(expiry.large)} that were read"
        rows.append((what, f"until {duration(expiry.large_mail)} after they arrived"))
    rows += [
        (
            f"Messages in a mailbox that is nearly full (its quota is {size(settings.accounts.quota)})",
            "shorter: read messages are removed first, then those of the sender who fills it",
        ),
        ("Messages to other servers that don't answer", "2 days, then the sender gets a report"),
        (
            "The account: its address, a hash of its password, the days of its creation and last login",
            _until(expiry.accounts, "until it is deleted", "after the last login"),
        ),
    ]
    if settings.accounts.names_kept:
        what = "The name of a former account, as a pseudonym, so that nobody else gets it"
        rows.append((what, f"{duration(settings.accounts.names_kept)} after the account"))
    if push.gateway:
        what = "A token to notify your phone of new messages, encrypted to the notification service"
        rows.append((what, f"{duration(push.token_lifetime)} after your app last sent it"))
    rows += [
        (
            "A recipient whom another server refused: a pseudonym of the address, and the reply",
            duration(REFUSALS_KEPT.total_seconds()),
        ),
        (
            "Hourly numbers of messages to and from each other server, without addresses",
            duration(TRAFFIC_KEPT.total_seconds()),
        ),
        (
            "The log, in memory only: addresses of senders and recipients, and the IP address that sends; "
            "never the content of a message",
            duration(pages.log_days * 86400),
        ),
    ]
    return tuple(rows)


def _until(seconds: float, asked: str, after: str) -> str:
    return f"{asked}, at most until {duration(seconds)} {after}" if seconds else asked


def duration(seconds: float) -> str:
    """Formats seconds in the largest unit that divides them: `20 days`."""
    unit, length = next((one for one in _UNITS if seconds % one[1] == 0), _UNITS[-1])
    count = seconds / length
    return f"{count:g} {unit}{'' if count == 1 else 's'}"


def size(octets: int) -> str:
    """Formats a size with three significant digits: `500 MB`."""
    unit, length = next((one for one in _SIZES if octets >= one[1]), ("octets", 1))
    return f"{octets / length:.3g} {unit}"
