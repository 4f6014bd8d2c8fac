"""Decides whether a transaction may begin: by the operator's policy, then by the sender's rate.

Called once per transaction, at its first recipient, for all of them. While the store can't be read, the
blocklist is unknown, so every transaction gets 451. This is logged when it begins and ends, not for each
message.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import codes
from chatmail_milter.address import Peer
from chatmail_milter.gate.gate import Direction
from chatmail_milter.processes.ratelimit import Limiter
from chatmail_milter.rules.policy import OPEN, Policy
from chatmail_milter.store import revision
from chatmail_milter.store.policies import Policies, PolicyState
from chatmail_milter.store.refusals import Refusals
from chatmail_milter.store.reserved_names import ReservedNames
from chatmail_milter.verdict import Action, Verdict

log = logging.getLogger("chatmail-milter")


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to all recipients of a transaction, and the policy for its message."""

    verdict: Verdict
    policy: Policy


@dataclass(frozen=True, slots=True)
class SessionStart:
    """The beginning of a session: revision of the policy (-1 if it can't be read), and monotonic time."""

    revision: int
    time: float


class AdmissionControl:
    """Lets transactions in. One object serves all threads.

    `limiter` limits a user's messages, `recipients` their recipients. `open_policies` is called at the first
    transaction, and again at each as long as it raises `SQLAlchemyError`: the program may be there before its
    store is. `open_refusals` is called so at the first message that a peer brings. `names` has the key of the
    pseudonyms of accounts.
    """

    def __init__(
        self,
        open_policies: Callable[[], Policies],
        limiter: Limiter,
        clock: Callable[[], float] = time.monotonic,
        open_refusals: Callable[[], Refusals] | None = None,
        recipients: Limiter | None = None,
        names: ReservedNames | None = None,
    ) -> None:
        self._open_policies = open_policies
        self._open_refusals = open_refusals
        self._refusals: Refusals | None = None
        self._limiter = limiter
        self._recipients = recipients
        self._clock = clock
        self._names = names or ReservedNames()
        self._policies: Policies | None = None
        self._opening = threading.Lock()
        self._counting = threading.Lock()
        self._deferred_count = 0

    def begin(self) -> SessionStart:
        """Records the beginning of a session, before its user logs in."""
        now = self._clock()
        try:
            return SessionStart(self._opened().state().revision, now)
        except SQLAlchemyError:
            # `admit` logs the fault. A user with an entry in `ended_logins` has to log in once more.
            return SessionStart(-1, now)

    def admit(self, direction: Direction, sender: str, peer: Peer, beginning: SessionStart) -> Admission:
        """Whether mail of `sender` (canonical, empty for the null sender) is admitted from `peer`."""
        try:
            state = self._opened().state()
            policy = state.policy
            if direction is Direction.OUT:
                verdict = self._user(state, sender, peer, beginning)
        except SQLAlchemyError as fault:
            self._away(fault)
            return Admission(codes.STORE_AWAY, OPEN)
        if self._deferred_count:
            self._back()
        if direction is Direction.IN:
            return Admission(policy.incoming(sender, peer), policy)
        # Whoever is refused for another reason takes no token.
        if verdict.action is Action.PASS and not self._sends(sender):
            verdict = codes.too_much_mail(sender)
        return Admission(verdict, policy)

    def _sends(self, sender: str) -> bool:
        """Whether a user may send one more message, at its first recipient."""
        now = self._clock()
        if self._recipients is not None and not self._recipients.may(sender, now):
            return False
        return self._limiter.take(sender, now)

    def addressed(self, sender: str) -> None:
        """Counts a recipient of an admitted user. Never refuses, so that all of a group get the message."""
        if self._recipients is not None:
            self._recipients.charge(sender, self._clock())

    def readmit(self, sender: str, peer: Peer, beginning: SessionStart) -> Verdict:
        """Whether `sender`, an admitted user, may still send at the end of the message."""
        try:
            return self._user(self._opened().state(), sender, peer, beginning)
        except SQLAlchemyError as fault:
            self._away(fault)
            return codes.STORE_AWAY

    def _user(self, state: PolicyState, sender: str, peer: Peer, beginning: SessionStart) -> Verdict:
        """Whether a user may send. Postfix has checked that `sender` is the login."""
        verdict = state.policy.submission(sender, peer)
        if verdict.action is not Action.PASS:
            return verdict
        if self._clock() - beginning.time > revision.LONGEST_SESSION:
            return codes.LOGIN_OLD
        if state.ended and state.ended.get(self._names.pseudonym(sender), -1) > beginning.revision:
            return codes.LOGIN_OVER
        return verdict

    def wrote(self, author: str) -> None:
        """Deletes stored refusals of the canonical `author`, whose mail was accepted."""
        try:
            if self._refusals is None and self._open_refusals is not None:
                self._refusals = self._open_refusals()
            if self._refusals is not None:
                self._refusals.forget(author)
        except SQLAlchemyError as fault:
            # The refusal ends by itself within the day. Not str(fault): it has the statement's parameters.
            log.error("refusals=away fault=%s", type(fault).__name__)

    def _opened(self) -> Policies:
        if self._policies is None:
            with self._opening:
                if self._policies is None:
                    self._policies = self._open_policies()
        return self._policies

    def _away(self, fault: SQLAlchemyError) -> None:
        with self._counting:
            self._deferred_count += 1
            begins = self._deferred_count == 1
        if begins:
            # Not str(fault), which has the statement's parameters.
            cause = getattr(fault, "orig", None) or fault
            log.error("store=away fault=%s cause=%s", type(fault).__name__, type(cause).__name__)

    def _back(self) -> None:
        with self._counting:
            deferred, self._deferred_count = self._deferred_count, 0
        if deferred:
            log.info("store=back transactions-put-off=%d", deferred)
