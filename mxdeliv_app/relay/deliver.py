"""Delivers a message to its recipients of one domain, and returns a reply for each.

Runs in a worker thread, or on the event loop as long as it need not wait (`at_once`). Tries HTTPS to the
targets of the plan in order, else gives the message back to Postfix for SMTP. In HTTPS-only mode, after
smtp(8) failed, it gives nothing back for SMTP, because mail would loop. Only a message to several recipients
with different outcomes is then given back in parts (`fallback.one_for_all`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from chatmail_milter import codes
from chatmail_milter.store.endpoints import Endpoint
from chatmail_milter.verdict import Reply
from mxdeliv_app.https.event_loop import WouldWaitError, at_once
from mxdeliv_app.https.exchange import Exchange
from mxdeliv_app.relay.attempt import Attempt, Collaborators
from mxdeliv_app.relay.fallback import Fallback, one_for_all
from mxdeliv_app.relay.queued_message import Mode, QueuedMessage, Recipient
from mxdeliv_app.relay.routing import DeliveryPlan, Router

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StartedDelivery:
    """A delivery whose first POST was sent."""

    known: Endpoint | None
    plan: DeliveryPlan
    attempt: Attempt
    exchange: Exchange
    started: float

    async def wait(self) -> bool:
        """Waits for the peer; returns whether its answer has arrived."""
        with self.attempt.under_way():
            await self.exchange.wait()
        return self.exchange.answer is not None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a delivery.

    `replies`: in the order of the recipients. `road`: `https`; `smtp` or `none` if HTTPS did not serve all
    recipients. `reason`: the reason word in the log.
    """

    replies: Sequence[Reply]
    road: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """The collaborators. Thread-safe."""

    where: Router
    tools: Collaborators
    fallback: Fallback
    smtp_words: Callable[[str], str]  # why SMTP failed for a domain

    def begin(
        self, message: QueuedMessage, recipients: Sequence[Recipient], mode: Mode
    ) -> StartedDelivery | None:
        """Sends the first POST at once, on the event loop; None if HTTPS is not known to work there.

        Wait for the result, then give it to `deliver`, which otherwise does everything.
        """
        domain, started = recipients[0].domain, time.monotonic()
        if mode is not Mode.HTTPS_FIRST:
            return None
        with suppress(WouldWaitError), at_once():
            known = self.tools.known.endpoint(domain)
            if known is None or known.failures:
                return None
            plan = self.where.plan(domain, known)
            if (
                not isinstance(plan, DeliveryPlan)
                or self._unfit(plan, known, domain, message, mode) is not None
            ):
                return None
            attempt = Attempt(self.tools, domain, plan, known, message, mode)
            exchange = attempt.begin(_canonical(recipients))
            return None if exchange is None else StartedDelivery(known, plan, attempt, exchange, started)
        return None

    def deliver(
        self,
        message: QueuedMessage,
        recipients: Sequence[Recipient],
        mode: Mode,
        begun: StartedDelivery | None = None,
    ) -> list[Reply]:
        """Replies for `recipients`, all of one domain, in order. Continues `begun`, if given."""
        domain = recipients[0].domain
        started = time.monotonic() if begun is None else begun.started
        outcome = self._deliver(domain, message, recipients, mode, begun)
        replies = outcome.replies
        log.info(
            "event=delivery domain=%s mode=%s road=%s reason=%s accepted=%d of=%d octets=%d seconds=%.3f"
            " queue=%s",
            domain,
            mode.value,
            outcome.road,
            outcome.reason,
            sum(reply.accepted for reply in replies),
            len(replies),
            len(message.content),
            time.monotonic() - started,
            message.queue_id,
        )
        if mode is Mode.HTTPS_ONLY and len(replies) > 1:
            return one_for_all(message, recipients, replies, self.fallback.hand_over)
        return list(replies)

    def _deliver(
        self,
        domain: str,
        message: QueuedMessage,
        recipients: Sequence[Recipient],
        mode: Mode,
        begun: StartedDelivery | None,
    ) -> Outcome:
        if begun is None:
            known = self.tools.known.endpoint(domain)
            found = self.where.plan(domain, known)
            if not isinstance(found, DeliveryPlan):
                return Outcome([found.said] * len(recipients), "none", found.reason)
            plan, reason = found, self._unfit(found, known, domain, message, mode)
        else:
            # What the message was sent by, whatever was decided since.
            plan, known, reason = begun.plan, begun.known, None
        answers: dict[str, Reply] = {}
        if reason is None:
            under_way = [] if begun is None else [begun.exchange]
            attempt = Attempt(self.tools, domain, plan, known, message, mode, under_way)
            reason = attempt.run(_canonical(recipients), answers)
        answered = [None if one.canonical is None else answers.get(one.canonical) for one in recipients]
        left = [one for one, reply in zip(recipients, answered, strict=True) if reply is None]
        if not left:
            return Outcome([reply for reply in answered if reply is not None], "https", "answered")
        if reason == codes.FORBIDDEN_ADDRESS.reason and plan.routed:
            # The operator wants it there and nowhere else, and has yet to allow that network.
            rest, road = [codes.NO_PUBLIC_ADDRESS.said] * len(left), "none"
        else:
            rest, road = self._without_https(domain, plan, message, left, mode)
        following = iter(rest)
        replies = [next(following) if reply is None else reply for reply in answered]
        return Outcome(replies, road, reason or "no-canonical-address")

    def _unfit(
        self, plan: DeliveryPlan, known: Endpoint | None, domain: str, message: QueuedMessage, mode: Mode
    ) -> str | None:
        """Why HTTPS is not tried, or None."""
        if plan.https == "never":
            return "route"
        if message.canonical_sender is None:
            return "sender"
        if self.tools.breaker.is_open(domain):
            return "breaker"
        if known is None or not known.failures or plan.https == "only":
            return None
        marked = known.marked(datetime.now(UTC))
        if mode is Mode.HTTPS_ONLY:
            if marked:
                # SMTP works no better: the mark has lost its reason.
                self.tools.known.unmark(domain)
            return None
        if marked:
            return "marked"
        # It failed last time. One message finds out whether it still does; no other need wait for that.
        return "tried" if self.tools.breaker.is_tried(domain) else None

    def _without_https(
        self,
        domain: str,
        plan: DeliveryPlan,
        message: QueuedMessage,
        recipients: Sequence[Recipient],
        mode: Mode,
    ) -> tuple[list[Reply], str]:
        if plan.https == "only":
            return [codes.NO_ROAD.said] * len(recipients), "none"
        if mode is Mode.HTTPS_ONLY:
            return [codes.no_road_but(self.smtp_words(domain)).said] * len(recipients), "none"
        refusal = self.where.smtp_refusal(domain)
        if refusal in (codes.NO_SUCH_DOMAIN, codes.NO_HOST) and plan.routed:
            # The operator knows of a host that DNS doesn't; it is only away.
            refusal = codes.NO_ROAD
        if refusal is not None:
            return [refusal.said] * len(recipients), "none"
        return self.fallback.hand_over(message, recipients), "smtp"


def _canonical(recipients: Sequence[Recipient]) -> list[str]:
    """The recipients with a canonical address, which HTTPS needs."""
    return [one.canonical for one in recipients if one.canonical is not None]
