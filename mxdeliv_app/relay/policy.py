"""The policy in force, for sessions on one event loop, which continue in the order in which they asked.

A thread reads the store, so that other work does not wait. Sessions that ask meanwhile wait for the same
read: otherwise one could overtake the session that started it (`concurrency`).
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
        """The policy. Raises `sqlalchemy.exc.SQLAlchemyError` if the store can't be read."""
        if not self._asked.locked() and (held := self._policies.held()) is not None:
            return held
        async with self._asked:
            held = self._policies.held()
            return await asyncio.to_thread(self._policies.current) if held is None else held
