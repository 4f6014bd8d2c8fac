"""Delta Chat's own core (`deltachat-rpc-server`), run inside the lab's client namespace.

One process holds any number of accounts. Only what the demo and tests need of the client library is used;
its calls have no time limit, so callers hold a `deadline`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import deltachat_rpc_server  # type: ignore[import-untyped]
from deltachat_rpc_client import Rpc

from tests.chat.events import EventLog


class _Rpc(Rpc):
    """The library's client with our event logs in place of its queues."""

    def __init__(self, accounts: Path, command: list[str]) -> None:
        # Popen takes a list as well as a path; that is how the core gets into the namespace.
        super().__init__(accounts_dir=str(accounts), rpc_server_path=command)
        self.logs: dict[int, EventLog] = {}

    def get_queue(self, account_id: int) -> Any:
        """The log that stands for this account's queue; two threads ask, `setdefault` is atomic."""
        return self.logs.setdefault(account_id, EventLog())


class Core:
    """A running core. Use as a context manager: it ends the process and removes its directory."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.directory = Path(tempfile.mkdtemp(prefix="chatlab-core-"))
        server = Path(deltachat_rpc_server.__file__).parent / "deltachat-rpc-server"
        self.rpc: Any = _Rpc(self.directory / "accounts", ["ip", "netns", "exec", namespace, str(server)])

    def __enter__(self) -> Core:
        try:
            self.rpc.start()
        except BaseException:
            shutil.rmtree(self.directory)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.rpc.close()
        finally:
            self.rpc.process.terminate()
            self.rpc.process.wait(10)
            for pipe in (self.rpc.process.stdout, self.rpc.process.stderr):
                pipe.close()
            shutil.rmtree(self.directory)

    def log(self, account: int) -> EventLog:
        """The events of an account."""
        return self.rpc.get_queue(account)  # type: ignore[no-any-return]

    @property
    def version(self) -> str:
        """The core's version, e.g. `v2.65.0`."""
        return str(self.rpc.get_system_info()["deltachat_core_version"])
