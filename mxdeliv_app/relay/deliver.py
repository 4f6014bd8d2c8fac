"""A letter's recipients of one domain: which road, and what each is answered. Runs in a worker thread.

HTTPS to the targets of the plan, in order; where that can't be, back to Postfix for SMTP. In HTTPS-only
mode (Postfix comes from a failed SMTP) nothing is ever handed back, or mail would go in circles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from sqlalchemy.exc import OperationalError

from chatmail_milter import codes
from chatmail_milter.store.endpoints import Endpoint
from mxdeliv_app import wire
from mxdeliv_app.relay.breaker import Breaker
from mxdeliv_app.relay.fallback import Fallback
from mxdeliv_app.relay.guard import ForbiddenAddressError
from mxdeliv_app.relay.https import Https, NoHttpsError
from mxdeliv_app.relay.known import Known
from mxdeliv_app.relay.ledger import Ledger, said_by
from mxdeliv_app.relay.letter import Letter, Recipient
from mxdeliv_app.relay.patience import Patience
from mxdeliv_app.relay.where import Plan, Target, Where
from mxdeliv_app.wire import Meaning, RecipientReply

log = logging.getLogger(__name__)


class Mode(Enum):
    """Which of the daemon's two ears a letter came in by."""

    HTTPS_FIRST = "https-first"  # LMTP, from Postfix's default transport
    HTTPS_ONLY = "https-only"  # SMTP, as the fallback relay of smtp(8)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The collaborators; one object serves all threads."""

    where: Where
    https: Https
    fallback: Fallback
    known: Known
    ledger: Ledger
    breaker: Breaker
    smtp_words: Callable[[str], str]  # why SMTP failed for a domain
    patience: Patience

    def deliver(self, letter: Letter, recipients: Sequence[Recipient], mode: Mode) -> list[str]:
        """Reply lines for `recipients`, all of one domain, in order."""
        domain = recipients[0].domain
        started = time.monotonic()
        lines, road, reason = self._deliver(domain, letter, recipients, mode)
        log.info(
            "event=delivery domain=%s mode=%s road=%s reason=%s accepted=%d of=%d octets=%d seconds=%.3f",
            domain,
            mode.value,
            road,
            reason,
            sum(line.startswith("2") for line in lines),
            len(lines),
            len(letter.content),
            time.monotonic() - started,
        )
        return lines

    def _deliver(
        self, domain: str, letter: Letter, recipients: Sequence[Recipient], mode: Mode
    ) -> tuple[list[str], str, str]:
        known = self.known.endpoint(domain)
        plan = self.where.plan(domain, known)
        if not isinstance(plan, Plan):
            return [plan.reply] * len(recipients), "none", plan.reason
        answers: dict[str, RecipientReply] = {}
        reason = self._unfit(plan, known, domain, letter, mode)
        if reason is None:
            attempt = _Attempt(self, domain, plan, known, letter, mode)
            reason = attempt.run([one.canonical for one in recipients if one.canonical is not None], answers)
        lines = [answers[one.canonical].line if one.canonical in answers else "" for one in recipients]
        left = [index for index, line in enumerate(lines) if not line]
        if not left:
            return lines, "https", "answered"
        if reason == codes.FORBIDDEN_ADDRESS.reason:
            rest = [codes.FORBIDDEN_ADDRESS.reply] * len(left)
            road = "none"
        else:
            rest, road = self._without_https(domain, plan, letter, [recipients[i] for i in left], mode)
        for index, line in zip(left, rest, strict=True):
            lines[index] = line
        return lines, road, reason or "no-canonical-address"

    def _unfit(
        self, plan: Plan, known: Endpoint | None, domain: str, letter: Letter, mode: Mode
    ) -> str | None:
        """Why HTTPS is not even tried, or None."""
        if plan.https == "never":
            return "route"
        if letter.canonical_sender is None:
            return "sender"
        if self.breaker.is_open(domain):
            return "breaker"
        if known is None or not known.failures or plan.https == "only":
            return None
        marked = known.marked(datetime.now(UTC))
        if mode is Mode.HTTPS_ONLY:
            if marked:
                # SMTP works no better: the mark has lost its reason.
                self.known.unmark(domain)
            return None
        if marked:
            return "marked"
        # It failed last time. One message finds out whether it still does; no other need wait for that.
        return "tried" if self.breaker.is_tried(domain) else None

    def _without_https(
        self, domain: str, plan: Plan, letter: Letter, recipients: Sequence[Recipient], mode: Mode
    ) -> tuple[list[str], str]:
        if plan.https == "only":
            return [codes.NO_ROAD.reply] * len(recipients), "none"
        if mode is Mode.HTTPS_ONLY:
            return [codes.no_road_but(self.smtp_words(domain)).reply] * len(recipients), "none"
        refusal = self.where.smtp_refusal(domain)
        if refusal in (codes.NO_SUCH_DOMAIN, codes.NO_HOST) and plan.routed:
            # The operator knows of a host that DNS doesn't; it is only away.
            refusal = codes.NO_ROAD
        if refusal is not None:
            return [refusal.reply] * len(recipients), "none"
        return self.fallback.hand_over(letter, recipients), "smtp"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """HTTPS for one letter and domain."""

    tools: Delivery
    domain: str
    plan: Plan
    known: Endpoint | None
    letter: Letter
    mode: Mode

    def run(self, recipients: Sequence[str], answers: dict[str, RecipientReply]) -> str | None:
        """Fill `answers` by canonical recipient; else the reason why some have none."""
        unique = list(dict.fromkeys(recipients))
        groups = [[one] for one in unique] if self.plan.one_per_recipient else [unique]
        end = time.monotonic() + self.tools.patience.longest
        for group in filter(None, groups):
            deadline = time.monotonic() + self.tools.patience.whole(len(self.letter.content))
            reason = self._try_targets(group, answers, min(deadline, end))
            if reason is not None:
                return reason
        return None

    def _try_targets(
        self, recipients: Sequence[str], answers: dict[str, RecipientReply], deadline: float
    ) -> str | None:
        reason, forbidden = "timeout", 0
        allowance = self.tools.patience.allowance(len(self.letter.content))
        for target in self.plan.targets:
            if time.monotonic() >= deadline:
                break
            try:
                with self.tools.breaker.attempt(self.domain, allowance):
                    found = self._post(target, recipients, deadline)
            except ForbiddenAddressError:
                forbidden += 1
                continue
            except NoHttpsError as error:
                found, reason = None, error.reason
                self._failed(reason, said_by(error), recipients)
            if isinstance(found, str):
                reason = found
            elif found is not None:
                answers.update({reply.address: reply for reply in found})
                return None
        if forbidden == len(self.plan.targets):
            return codes.FORBIDDEN_ADDRESS.reason
        if self.mode is Mode.HTTPS_FIRST:
            # Not where SMTP has failed already: a mark would only send more mail that way.
            with _store_may_fail():
                self.tools.known.failed(self.domain, reason, datetime.now(UTC), self.known)
        return reason

    def _post(
        self, target: Target, recipients: Sequence[str], deadline: float
    ) -> Sequence[RecipientReply] | str:
        """The peer's replies; or, if it is no chatmail server, the reason for the count."""
        # SMTP has one answer after DATA: the peer, not asked for JSON, then bounces who it can't take.
        accept = wire.ACCEPT if self.mode is Mode.HTTPS_FIRST else "text/plain"
        answer = self.tools.https.post(
            target, self.letter.canonical_sender or "", recipients, self.letter.content, accept, deadline
        )
        understood = wire.understand(answer.status, answer.content_type, answer.body, recipients)
        if understood.meaning is Meaning.NOT_CHATMAIL:
            reason = answer.cut or f"http-{answer.status}"
            self._failed(reason, f"{answer.status} {answer.body.decode(errors='replace')}", recipients)
            return reason
        if any(reply.accepted for reply in understood.replies):
            self.tools.ledger.https(self.domain, latency=answer.seconds)
        else:
            first = understood.replies[0]
            self._failed(f"refused-{first.code}", first.line, recipients)
        with _store_may_fail():
            self.tools.known.worked(self.domain, target.host, datetime.now(UTC), self.known)
        return understood.replies

    def _failed(self, reason: str, words: str, recipients: Sequence[str]) -> None:
        # Each target's: what is logged of the delivery is the last one's.
        log.info("event=https-failed domain=%s mode=%s reason=%s", self.domain, self.mode.value, reason)
        sender = self.letter.canonical_sender or ""
        self.tools.ledger.https(self.domain, reason=reason, words=words, addresses=[*recipients, sender])


@contextmanager
def _store_may_fail() -> Iterator[None]:
    # What is learnt on the way is worth less than the peer's answer: losing that would send the mail twice.
    try:
        yield
    except OperationalError as error:
        log.error("event=endpoint-not-stored error=%s", type(error.orig).__name__)
