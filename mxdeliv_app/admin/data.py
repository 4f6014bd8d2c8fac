"""The values of each page: its JSON has these keys, its template these names, `openapi.py` these types.

Times are UTC, sizes octets, latencies seconds, shares from 0 to 1. What is unknown is None; `missing` has
the sources that did not answer, and what to do about each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from chatmail_milter.ctl.postqueue import QueueEntry
from chatmail_milter.figures.accounts import AccountFigures, Listed
from chatmail_milter.figures.overview import Overview
from chatmail_milter.figures.peers import KnownPeer, PeerFigures
from chatmail_milter.figures.traffic import Traffic
from chatmail_milter.figures.waiting import Queue
from chatmail_milter.store.endpoint_hosts import HostState
from chatmail_milter.store.endpoints import Endpoint
from chatmail_milter.store.policies import Block
from chatmail_milter.store.routes import Route
from chatmail_milter.trace.ways import TracedMessage
from mxdeliv_app.admin.passwords import Role

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# As `chatmailctl doctor --json` prints them.
Findings = list[dict[str, str]]


def shallow(value: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass. `asdict` would copy all that is in them, such as a thousand destinations."""
    return {one.name: getattr(value, one.name) for one in fields(value)}


@dataclass(frozen=True, slots=True)
class PartOfList:
    """Page `page` of `pages`. `rows`: those of all pages."""

    page: int
    pages: int
    rows: int


@dataclass(frozen=True, slots=True)
class OverviewPage(Overview):
    """The state of the relay, and its traffic over `span`."""

    span: str
    services: Findings | None
    findings: Findings | None
    findings_at: datetime | None


@dataclass(frozen=True, slots=True)
class PeersPage(PartOfList):
    """Peers by road. `counts`: of peers by filter."""

    at: datetime
    sort: str
    filter: str
    domain: str
    counts: Mapping[str, int]
    peers: Sequence[PeerFigures]


@dataclass(frozen=True, slots=True)
class PeerPage(KnownPeer):
    """One peer."""

    history: Traffic
    span: str
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class QueuePage(PartOfList):
    """The queue as it was `at`. `further`: destinations that are left out."""

    at: datetime | None
    queue: Queue | None
    further: int
    domain: str
    reason: str
    messages: Sequence[QueueEntry]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TracedWay(TracedMessage):
    """What `chatmailctl trace --json` prints of a message. `waits`: its queue IDs that are in the queue."""

    outcome: str
    waits: Sequence[str]
    advice: Sequence[str]


@dataclass(frozen=True, slots=True)
class MessagePage:
    """The envelope of one message, and its way so far; None if the journal has nothing of it."""

    message: QueueEntry
    way: TracedWay | None
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AccountsPage:
    """Accounts in order of address. `further`: the value of `after` for the next page."""

    counts: AccountFigures
    begins: str
    after: str
    further: str | None
    accounts: Sequence[Listed]
    suspended: Mapping[str, date]


@dataclass(frozen=True, slots=True)
class BlocklistPage(PartOfList):
    """The blocklist."""

    entries: Sequence[Block]


@dataclass(frozen=True, slots=True)
class FederationPage:
    """The federation rule, and the domains for which the opposite holds."""

    rule: str
    exceptions: Sequence[str]


@dataclass(frozen=True, slots=True)
class RoutesPage:
    """The operator's routes."""

    routes: Sequence[Route]


@dataclass(frozen=True, slots=True)
class EndpointWithHosts(Endpoint):
    """Cached facts about HTTPS at a peer."""

    hosts: Sequence[HostState]


@dataclass(frozen=True, slots=True)
class EndpointsPage(PartOfList):
    """Cached facts about HTTPS at peers."""

    endpoints: Sequence[EndpointWithHosts]


@dataclass(frozen=True, slots=True)
class Invitation:
    """A token. `uses`: accounts that it is for, None for any number. `spent`: creates none any more."""

    id: str
    created: date
    uses: int | None
    used: int
    expires: datetime | None
    spent: bool


@dataclass(frozen=True, slots=True)
class TokensPage:
    """The tokens, and the relay's setting `accounts.registration`."""

    tokens: Sequence[Invitation]
    registration: str


@dataclass(frozen=True, slots=True)
class SettingsPage:
    """The settings in force, by section, without the password of the store."""

    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionState:
    """The session's role, and its token, which every form needs as `csrf`."""

    role: Role
    csrf: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """`seconds`: after which the session ends at the latest."""

    role: Role
    seconds: float


@dataclass(frozen=True, slots=True)
class Ordered:
    """The output of `chatmailctl`."""

    said: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request failed, and the field that is wrong, if it is one."""

    title: str
    field: str | None
