"""Sends one message to one domain by HTTPS: tries the targets in order, and caches what their answers show.

HTTPS to a domain is suspended only for trouble with its hosts. If a host refuses a single message without a
reply, that message goes by SMTP, with no effect on others; a refusal for size is cached as the host's limit.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import codes
from chatmail_milter.store.endpoint_hosts import HostState
from chatmail_milter.store.endpoints import Endpoint
from chatmail_milter.verdict import Reply
from mxdeliv_app.https.allowed_addresses import ForbiddenAddressError
from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.https.exchange import Answer, Exchange
from mxdeliv_app.https.post import HttpsPool, NoHttpsError, Timeouts
from mxdeliv_app.mxdeliv import peer_answer
from mxdeliv_app.mxdeliv.peer_answer import Meaning
from mxdeliv_app.mxdeliv.wire import RecipientReply
from mxdeliv_app.relay.breaker import Breaker
from mxdeliv_app.relay.domain_cache import DomainCache, store_may_fail
from mxdeliv_app.relay.proofs import Proofs, UnprovenError
from mxdeliv_app.relay.queued_message import Mode, QueuedMessage
from mxdeliv_app.relay.recipient_refusals import RecipientRefusals
from mxdeliv_app.relay.routing import DeliveryPlan
from mxdeliv_app.stats.recorder import StatsRecorder, said_by

_TOO_LARGE = 413  # RFC 9110, 15.5.14

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collaborators:
    """The collaborators. Thread-safe."""

    https: HttpsPool
    proofs: Proofs
    known: DomainCache
    recorder: StatsRecorder
    breaker: Breaker
    timeouts: Timeouts
    refusals: RecipientRefusals


class _NotTakenError(Exception):
    """A target did not accept the message; `reason` is a slug.

    `trouble`: whether HTTPS fails there in general. `last`: whether to try no other target.
    """

    def __init__(self, reason: str, *, trouble: bool = False, last: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.trouble = trouble
        self.last = last


class _OfOneError(Exception):
    """The peer refused the message for all recipients because of one of them."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """HTTPS for one message and domain. `known`: the cached facts about the domain."""

    tools: Collaborators
    domain: str
    plan: DeliveryPlan
    known: Endpoint | None
    message: QueuedMessage
    mode: Mode
    begun: list[Exchange] = field(default_factory=list)  # one at most, until it is gone on with

    def begin(self, recipients: Sequence[str]) -> Exchange | None:
        """Sends the first POST of `run` on the event loop; None if a thread must do everything."""
        unique = list(dict.fromkeys(recipients))
        if not unique or not self.plan.targets or self.plan.one_per_recipient:
            return None
        target, now = self.plan.targets[0], datetime.now(UTC)
        host = self.tools.known.host(self.domain, target.key)
        if not host.proven(now) or self._skipped(host, now) is not None:
            return None
        deadline = time.monotonic() + self.tools.timeouts.whole(len(self.message.content))
        sender = self.message.canonical_sender or ""
        return self.tools.https.begin(target, sender, unique, self.message.content, deadline)

    def run(self, recipients: Sequence[str], answers: dict[str, Reply]) -> str | None:
        """Fills `answers` by canonical recipient. Returns the reason if some have none.

        Raises `SQLAlchemyError` only if no recipient has an answer.
        """
        unique = list(dict.fromkeys(recipients))
        groups = [[one] for one in unique] if self.plan.one_per_recipient else [unique]
        waiting = deque(filter(None, groups))
        end = time.monotonic() + self.tools.timeouts.longest
        while waiting:
            group = waiting.popleft()
            now = time.monotonic()
            if now >= end:
                return "timeout"  # of many POSTs, each of which was answered: no trouble with the peer
            deadline = min(now + self.tools.timeouts.whole(len(self.message.content)), end)
            try:
                reason = self._try_targets(group, answers, deadline)
            except _OfOneError:
                waiting.extend([one] for one in group)
                continue
            except SQLAlchemyError as error:
                if not answers:
                    raise
                # Who has the message would get it again with each retry.
                log.error("event=store-away error=%s queue=%s", type(error).__name__, self.message.queue_id)
                return "store"
            if reason is not None:
                return reason
        return None

    @property
    def _smtp_is_left(self) -> bool:
        """Whether a message that no host accepts by HTTPS can go by SMTP."""
        return self.mode is Mode.HTTPS_FIRST and self.plan.https != "only"

    def _try_targets(
        self, recipients: Sequence[str], answers: dict[str, Reply], deadline: float
    ) -> str | None:
        reason, trouble = "timeout", False
        for target in self.plan.targets:
            if time.monotonic() >= deadline:
                trouble = True
                break
            try:
                found = self._try(target, recipients, deadline)
            except _NotTakenError as error:
                reason = error.reason
                trouble |= error.trouble
                if error.last:
                    return reason
            else:
                answers.update({one.address: one.reply for one in found})
                return None
        if trouble and self.mode is Mode.HTTPS_FIRST:
            # Not where SMTP has failed already: a mark would only send more mail that way.
            with store_may_fail():
                self.tools.known.failed(self.domain, reason, datetime.now(UTC), self.known)
        return reason

    def _try(self, target: Target, recipients: Sequence[str], deadline: float) -> Sequence[RecipientReply]:
        """The peer's replies. Raises `_NotTakenError`."""
        begun = self.begun.pop() if self.begun else None
        if begun is None:
            host = self.tools.known.host(self.domain, target.key)
            skipped = self._skipped(host, datetime.now(UTC))
            if skipped is not None:
                raise _NotTakenError(skipped)
        try:
            with self.under_way():
                if begun is None:
                    self.tools.proofs.require(self.domain, target, deadline)
                answer = self.tools.https.post(
                    target,
                    self.message.canonical_sender or "",
                    recipients,
                    self.message.content,
                    deadline,
                    begun,
                    self.message.queue_id,
                )
        except ForbiddenAddressError:
            raise _NotTakenError(codes.FORBIDDEN_ADDRESS.reason) from None
        except UnprovenError as error:
            self._failed(error.reason, error.words, recipients)
            raise _NotTakenError(error.reason, trouble=not error.disproven) from None
        except NoHttpsError as error:
            self._failed(error.reason, said_by(error), recipients)
            raise _NotTakenError(error.reason, trouble=True) from None
        return self._understood(target, answer, recipients)

    def under_way(self) -> AbstractContextManager[None]:
        """Context of waiting for the peer."""
        allowance = self.tools.timeouts.allowance(len(self.message.content))
        return self.tools.breaker.attempt(self.domain, allowance)

    def _skipped(self, host: HostState, now: datetime) -> str | None:
        """Why a host is skipped, or None. If SMTP is impossible, its size limit is ignored."""
        if host.disproven(now):
            return "not-chatmail"
        return "size" if self._smtp_is_left and host.limits(len(self.message.content), now) else None

    def _understood(
        self, target: Target, answer: Answer, recipients: Sequence[str]
    ) -> Sequence[RecipientReply]:
        """The replies in `answer` of a proven host. Raises `_NotTakenError`."""
        known, now = self.tools.known, datetime.now(UTC)
        understood = peer_answer.understand(
            answer.status, answer.content_type, answer.body, recipients, complete=answer.cut is None
        )
        if not understood.replies and understood.meaning is not Meaning.OF_ONE:
            reason = answer.cut or f"http-{answer.status}"
            self._failed(reason, f"{answer.status} {answer.body.decode(errors='replace')}", recipients)
        with store_may_fail():
            if understood.meaning is Meaning.NOT_CHATMAIL and answer.cut is None:
                if 200 <= answer.status < 300:
                    known.disproved(self.domain, target.key, now)
                else:
                    known.doubted(self.domain, target.key)
            elif understood.meaning is Meaning.PER_RECIPIENT:
                known.proved(self.domain, target.key, now)
            elif understood.meaning is Meaning.UNEXPLAINED and answer.status == _TOO_LARGE:
                known.limited(self.domain, target.key, len(self.message.content), now)
            if understood.replies or understood.meaning in (Meaning.UNEXPLAINED, Meaning.OF_ONE):
                known.worked(self.domain, target.host, now, self.known)
        if understood.meaning is Meaning.OF_ONE:
            may_wait()
            log.info(
                "event=one-by-one domain=%s recipients=%d queue=%s",
                self.domain, len(recipients), self.message.queue_id,
            )  # fmt: skip
            raise _OfOneError
        if not understood.replies:
            trouble = understood.meaning is Meaning.TROUBLE or answer.cut is not None
            last = understood.meaning is Meaning.UNEXPLAINED and self._smtp_is_left
            raise _NotTakenError(reason, trouble=trouble, last=last)
        self.tools.refusals.heard(understood.replies)
        if any(one.reply.accepted for one in understood.replies):
            self.tools.recorder.https(self.domain, latency=answer.seconds)
        else:
            first = understood.replies[0].reply
            self._failed(f"refused-{first.code}", first.line, recipients)
        return understood.replies

    def _failed(self, reason: str, words: str, recipients: Sequence[str]) -> None:
        may_wait()
        # Each target's: what is logged of the delivery is the last one's.
        log.info(
            "event=https-failed domain=%s mode=%s reason=%s queue=%s",
            self.domain, self.mode.value, reason, self.message.queue_id,
        )  # fmt: skip
        sender = self.message.canonical_sender or ""
        self.tools.recorder.https(self.domain, reason=reason, words=words, addresses=[*recipients, sender])
