"""Policy service: refuses at DATA a message to one recipient that can never be delivered.

Postfix's policy delegation protocol (SMTPD_POLICY_README). A refusal is better than a bounce, because apps
that accept only encrypted mail show no bounces. Refuses only for permanent reasons that are known without
asking the peer: Dovecot's answer for a mailbox here, the operator's policy, a domain that does not exist, a
null MX, the peer's refusal of this recipient within the last day. Postfix names the recipient only if it is
the only one; a 5xx for one of several would fail the message for all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.store.policies import Policies
from chatmail_milter.verdict import Action, Verdict
from mxdeliv_app.postfix import policy_service
from mxdeliv_app.postfix.policy_service import NOTHING_TO_SAY
from mxdeliv_app.relay.mailboxes import Mailboxes
from mxdeliv_app.relay.queued_message import NO_QUEUE_ID, recipient
from mxdeliv_app.relay.recipient_refusals import RecipientRefusals
from mxdeliv_app.relay.routing import Router

# Seconds, longer than `resolver.LIFETIME` unless there are too many. Postfix waits ten for an answer.
LOOKUP_TIMEOUT = 6.0

# At once; in threads of their own, as the loop's few are needed for what must not wait for a silent DNS.
_LOOKUPS = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecipientPolicy:
    """The collaborators. One object serves all connections.

    `domain`: this relay's domain, whose mailboxes `mailboxes` knows.
    """

    domain: str
    where: Router
    policies: Policies
    mailboxes: Mailboxes
    refusals: RecipientRefusals | None = None
    _pool: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, _LOOKUPS, "prospect"))
    _asked: dict[str, asyncio.Future[Verdict | None]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of Postfix until it ends."""
        await policy_service.serve(self._action, reader, writer)

    async def _action(self, attributes: Mapping[str, str]) -> str:
        named = attributes.get("recipient", "")
        if not named:  # one of several
            return NOTHING_TO_SAY
        try:
            address = recipient(named)
        except MalformedAddressError:
            return codes.BAD_ADDRESS.reply  # as the relay would say of it
        queue_id = attributes.get("queue_id") or NO_QUEUE_ID
        if address.domain == self.domain:
            size = attributes.get("size", "")
            return await self.mailboxes.action(address, int(size) if size.isdecimal() else 0, queue_id)
        verdict = await self._verdict(address.domain, queue_id)
        if verdict is None and self.refusals is not None and address.canonical is not None:
            verdict = await asyncio.to_thread(self.refusals.verdict, address.canonical)
        return NOTHING_TO_SAY if verdict is None else verdict.reply

    async def _verdict(self, domain: str, queue_id: str) -> Verdict | None:
        """Like `_elsewhere`, but once for all concurrent questions about a domain: its DNS may hang."""
        asked = self._asked.get(domain)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._pool, self._elsewhere, domain)
            self._asked[domain] = asked
            asked.add_done_callback(lambda _: self._asked.pop(domain))
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                return await asyncio.shield(asked)
        except TimeoutError:
            log.warning("event=prospect-unknown domain=%s error=TimeoutError queue=%s", domain, queue_id)
            return None

    def _elsewhere(self, domain: str) -> Verdict | None:
        """The permanent refusal of mail for `domain`; None if it can be tried."""
        try:
            verdict = self.policies.current().outgoing(domain)
            plan = self.where.plan(domain, None) if verdict.action is Action.PASS else verdict
        except SQLAlchemyError as error:
            log.error("event=prospect-unknown error=%s", type(error).__name__)
            return None
        return plan if isinstance(plan, Verdict) and plan.action is Action.REJECT else None
