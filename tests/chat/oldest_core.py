"""The oldest core that can talk with the current one, and someone who uses it. Some of its methods differ.

The dependency group `oldest-core` in pyproject.toml has its version, and docs/known-issues.md the reason.
"""

from __future__ import annotations

from typing import Any

from tests.chat.core import Core, LoggedRpc
from tests.chat.person import Person
from tests.lab.plan import REPOSITORY

# Of the core's parameters.
_TLS, _ANY_CERTIFICATE = "1", "3"


class _OldestRpc(LoggedRpc):
    def get_next_event_batch(self) -> list[Any]:
        """What later cores have, by the method of this one."""
        return [self.get_next_event()]


class OldestCore(Core):
    """The core that the Makefile installs beside the environment."""

    server = REPOSITORY / "dist/oldest-core/deltachat_rpc_server/deltachat-rpc-server"
    client = _OldestRpc


class OldestPerson(Person):
    """One account in this core. It takes the lab's certificates only when told to."""

    def log_in(self) -> None:
        """Like the current core's, which can also tell when it has nothing more to do."""
        self._use(self.address, self.password)
        self.core.rpc.start_io(self.account)

    def _use(self, address: str, password: str, **more: str) -> None:
        host = address.partition("@")[2]
        settings = {"addr": address, "mail_pw": password}
        settings |= {"mail_server": host, "mail_port": "993", "mail_security": _TLS}
        settings |= {"send_server": host, "send_port": "465", "send_security": _TLS}
        settings |= dict.fromkeys(("imap_certificate_checks", "smtp_certificate_checks"), _ANY_CERTIFICATE)
        self.core.rpc.batch_set_config(self.account, settings | more)
        self.core.rpc.configure(self.account)
