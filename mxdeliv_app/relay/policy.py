"""The policy in force, for sessions on one event loop: each goes on in the order in which it asked.

The store is read in a thread, as other work must not wait for it. Who asks meanwhile waits behind: it would
find the policy at hand a moment before the one that had it read goes on, and overtake that (`concurrency`).
"""

from __future__ import annotations

import asyncio

from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.policies import Policies


class PolicyInForce:
    """One object serves all sessions."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._asked = asyncio.Lock()  # whose waiters are served as they come

    async def ask(self) -> Policy:
        """Raises `sqlalchemy.exc.SQLAlchemyError` if the store can't be read."""
        if not self._asked.locked() and (held := self._policies.held()) is not None:
            return held
        async with self._asked:
            held = self._policies.held()
            return await asyncio.to_thread(self._policies.current) if held is None else held
