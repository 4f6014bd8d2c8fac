"""Views of mail: overview, peers, one peer, queue, one message. Views change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar

import falcon

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.figures.peers import PeerFigures
from chatmail_milter.figures.peers import peer as one_peer
from chatmail_milter.figures.traffic import SPANS, of_peer
from chatmail_milter.figures.waiting import QueueAwayError, queue
from chatmail_milter.store.peers import UNPROVEN
from mxdeliv_app.admin import charts
from mxdeliv_app.admin.data import MessagePage, OverviewPage, PeerPage, PeersPage, QueuePage, shallow
from mxdeliv_app.admin.order_client import AwayError
from mxdeliv_app.admin.render import View
from mxdeliv_app.admin.requests import ProblemError
from mxdeliv_app.admin.sources import Sources

_T = TypeVar("_T")

ROWS = 100  # of a page
PAGE_MAX = 999999
_OUT = ("out-https", "out-smtp")
_IN = ("in-mxdeliv", "in-smtp")

# The most of what is asked for comes first.
ORDERS: Mapping[str, Callable[[PeerFigures], Any]] = MappingProxyType(
    {
        "domain": lambda row: (row.domain, row.road),
        "road": lambda row: (row.road, row.domain),
        "last_contact": lambda row: -row.last_contact.timestamp(),
        "attempts": lambda row: -row.attempts,
        "share": lambda row: 2.0 if row.share is None else row.share,
        "mean": lambda row: -(row.mean or 0.0),
        "p50": lambda row: -(row.p50 or 0.0),
        "p95": lambda row: -(row.p95 or 0.0),
        "queued": lambda row: -(row.queued or 0),
    }
)
FILTERS: Mapping[str, Callable[[PeerFigures], bool]] = MappingProxyType(
    {
        "all": lambda _: True,
        "failing": lambda row: row.failing,
        "queued": lambda row: bool(row.queued),
        "restricted": lambda row: bool(row.restrictions),
    }
)


def overview(sources: Sources, request: falcon.Request) -> View[OverviewPage]:
    """The state of the relay, and its traffic."""
    span = choice(request, "span", SPANS, "day")
    look = sources.overviews[span].get()
    if look is None:
        raise ProblemError(503, "The first values are still being computed, try again", retry_after=5)
    found = look.value
    services, no_services = sources.findings(sources.services)
    doctor, no_doctor = sources.findings(sources.doctor)
    late = {"services": no_services, "findings": no_doctor}
    missing = found.missing | {name: why for name, why in late.items() if why}
    data = OverviewPage(
        **shallow(replace(found, missing=missing)),
        span=span,
        services=services.value if services else None,
        findings=doctor.value if doctor else None,
        findings_at=doctor.at if doctor else None,
    )
    pictures = {}
    if found.traffic is not None:
        pictures = {
            "messages": charts.messages(found.traffic, "Messages over time by the way they took"),
            "latencies": charts.latencies(found.traffic, (*_OUT, *_IN), "Mean time of a message over time"),
        }
    rows = [(way, found.traffic.total[way]) for way in found.traffic.total] if found.traffic else []
    return View("overview.html", "Overview", data, {"pictures": pictures, "flows": rows})


def peers(sources: Sources, request: falcon.Request) -> View[PeersPage]:
    """All peers by road: sorted, filtered, a hundred per page."""
    order = choice(request, "sort", ORDERS, "last_contact")
    chosen = choice(request, "filter", FILTERS, "all")
    begins = request.get_param("domain", default="").strip().lower()
    look = sources.peers.get()
    if look is None:
        raise ProblemError(503, "The first values are still being computed, try again", retry_after=5)
    rows = [one for one in look.value if FILTERS[chosen](one) and one.domain.startswith(begins)]
    rows.sort(key=ORDERS[order])
    shown, pages = page(request, rows)
    counts = {name: sum(map(fits, look.value)) for name, fits in FILTERS.items()}
    data = PeersPage(
        **pages, at=look.at, sort=order, filter=chosen, domain=begins, counts=counts, peers=shown
    )
    return View("peers.html", "Peers", data)


def peer(sources: Sources, request: falcon.Request, domain: str) -> View[PeerPage]:
    """One peer, with its history and its orders."""
    span = choice(request, "span", SPANS, "week")
    now = datetime.now(UTC)
    missing: dict[str, str] = {}
    try:
        messages = sources.messages()
    except QueueAwayError as error:
        messages, missing["queue"] = [], str(error)
    name = _domain(domain)
    engine = sources.store()
    found = one_peer(engine, name, messages, now)
    if not found.known:
        raise ProblemError(404, "There are no data about this peer")
    history = of_peer(engine, name, SPANS[span], now)
    pictures = {
        "messages": charts.messages(history, "Messages over time by road"),
        "latencies": charts.latencies(history, ("https", "smtp"), "Mean time of a message over time"),
    }
    data = PeerPage(**shallow(found), history=history, span=span, missing=missing)
    return View("peer.html", name, data, {"pictures": pictures})


def mail_queue(sources: Sources, request: falcon.Request) -> View[QueuePage]:
    """The queue by destination and reason, and its messages."""
    domain = request.get_param("domain", default="").strip().lower()
    reason = request.get_param("reason", default="").strip()
    missing: dict[str, str] = {}
    try:
        look = sources.queue.get()
    except QueueAwayError as error:
        look, missing["queue"] = None, str(error)
    else:
        if look is None:
            missing["queue"] = "wait a moment: Postfix has not answered yet"
    rows = [
        one
        for one in (look.value if look else ())
        if (not domain or domain in one.domains) and (not reason or reason in one.reasons)
    ]
    shown, pages = page(request, rows)
    found = queue(look.value) if look else None
    destinations = found.destinations if found else ()
    data = QueuePage(
        **pages,
        at=look.at if look else None,
        queue=replace(found, destinations=destinations[:ROWS]) if found else None,
        further=len(destinations[ROWS:]),
        domain=domain,
        reason=reason,
        messages=shown,
        missing=missing,
    )
    return View("queue.html", "Queue", data)


def message(sources: Sources, _request: falcon.Request, queue_id: str) -> View[MessagePage]:
    """The envelope of one message and its way so far, without content."""
    try:
        found = next((one for one in sources.messages() if one.queue_id == queue_id), None)
    except QueueAwayError as error:
        raise ProblemError(503, str(error)) from None
    if found is None:
        raise ProblemError(404, "No such message is in the queue")
    way, missing = None, {}
    try:
        way = sources.way(found)
    except AwayError as error:
        missing["way"] = str(error)
    return View("message.html", f"Message {found.queue_id}", MessagePage(found, way, missing))


def choice(request: falcon.Request, name: str, among: Mapping[str, Any], default: str) -> str:
    """A parameter that must be one of the given words. Raises `ProblemError` (422)."""
    value = request.get_param(name, default=default)
    if value not in among:
        raise ProblemError(422, f"{name} can be {', '.join(among)}", name)
    return value


def page(request: falcon.Request, rows: Sequence[_T]) -> tuple[Sequence[_T], dict[str, int]]:
    """The rows of the requested page, and its numbers. Raises `ProblemError` (422)."""
    text = request.get_param("page", default="1")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_MAX)) and int(text)):
        raise ProblemError(422, "page is a number from 1", "page")
    number = int(text)
    shown = rows[(number - 1) * ROWS : number * ROWS]
    return shown, {"page": number, "pages": max(-(-len(rows) // ROWS), 1), "rows": len(rows)}


def _domain(text: str) -> str:
    if text == UNPROVEN:
        return text
    try:
        return address.domain(text)
    except MalformedAddressError:
        raise ProblemError(404, "There are no data about this peer") from None
