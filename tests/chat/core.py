"""Delta Chat's own core (`deltachat-rpc-server`), run inside the lab's client namespace.

One process holds any number of accounts. Only what the demo and tests need of the client library is used;
its calls have no time limit, so callers hold a `deadline`.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import deltachat_rpc_server  # type: ignore[import-untyped]
from deltachat_rpc_client import Rpc

from tests.chat.events import EventLog


class LoggedRpc(Rpc):
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

    server = Path(deltachat_rpc_server.__file__).parent / "deltachat-rpc-server"
    client: type[LoggedRpc] = LoggedRpc

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.directory = Path(tempfile.mkdtemp(prefix="chatlab-core-"))
        command = ["ip", "netns", "exec", namespace, str(self.server)]
        self.rpc: Any = self.client(self.directory / "accounts", command)

    def __enter__(self) -> Self:
        try:
            self.rpc.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.rpc.close()
        finally:
            self._end()

    def _end(self) -> None:
        """End the process and the library's threads, wherever they were interrupted.

        `close` asks the core first, and may wait for ever for the answer to a question that was cut off. The
        threads end when their pipes do, but the one that writes waits for a last request that is None.
        """
        self.rpc.closing = True
        process = getattr(self.rpc, "process", None)
        if process is not None:
            process.kill()
            process.wait(120)
            self.rpc.request_queue.put(None)
            for pipe in (process.stdin, process.stdout, process.stderr):
                # What was written to it and not read is lost with the process.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        shutil.rmtree(self.directory)

    def log(self, account: int) -> EventLog:
        """The events of an account."""
        return self.rpc.get_queue(account)  # type: ignore[no-any-return]

    @property
    def version(self) -> str:
        """The core's version, e.g. `v2.65.0`."""
        return str(self.rpc.get_system_info()["deltachat_core_version"])
