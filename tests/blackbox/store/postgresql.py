"""A PostgreSQL server of the tests' own: Debian's, on a Unix socket in a directory that goes with it.

As root it runs as `postgres`, since it refuses to run as root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from tests.chat.deadline import until

PACKAGE = "postgresql-15"  # Debian 12's
BINARIES = Path("/usr/lib/postgresql/15/bin")
# What the package's configuration reads when it is installed: it would start a server for the whole machine.
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/chatmail-tests.conf")
# With nothing on disk that outlives the tests, nothing need be on disk in time.
SETTINGS = ("listen_addresses=", "fsync=off", "synchronous_commit=off", "max_connections=200")


class PostgresqlServer:
    """One that runs; `directory` has its socket. `owner` owns each database, and may do nothing else."""

    owner = "chatmail"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._numbers = count(1)

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the superuser, each statement by itself."""
        return psycopg.connect(host=str(self.directory), user="postgres", dbname="postgres", autocommit=True)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"store_{next(self._numbers)}"
        with self.admin() as admin:
            admin.execute(f'CREATE DATABASE "{name}" OWNER {self.owner}')
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database, in the form of `store.url`."""
        return f"postgresql://{self.owner}@/{name}?host={self.directory}"


@contextmanager
def running() -> Iterator[PostgresqlServer]:
    """A server, until the end of the block."""
    install()
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        directory = Path(name)
        if user:
            shutil.chown(directory, "postgres", "postgres")
        directory.chmod(0o755)
        making = [BINARIES / "initdb", "--auth=trust", "--username=postgres", "--locale=C.UTF-8", "--no-sync"]
        data = directory / "data"
        subprocess.run([*making, data], cwd="/", check=True, capture_output=True, timeout=120, **user)  # type: ignore[call-overload]
        settings = [word for one in SETTINGS for word in ("-c", one)]
        starting = [BINARIES / "postgres", "-D", data, "-k", directory, *settings]
        log = (directory / "log").open("wb")
        process = subprocess.Popen(starting, cwd="/", stdout=log, stderr=log, **user)  # type: ignore[call-overload]
        try:
            server = PostgresqlServer(directory)
            until("PostgreSQL takes connections", lambda: _answers(server), 60)
            with server.admin() as admin:
                admin.execute(f"CREATE ROLE {server.owner} LOGIN")
            yield server
        finally:
            # Its fast shutdown, which does not wait for those who are connected.
            process.send_signal(signal.SIGINT)
            process.wait(120)
            log.close()


def install() -> None:
    """Debian's package, where it is missing. Starts nothing."""
    if BINARIES.is_dir():
        return
    if os.geteuid() != 0:
        raise RuntimeError(f"as root, run: apt-get install {PACKAGE}")
    NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
    NO_CLUSTER.write_text("# The tests start their own.\ncreate_main_cluster = false\n")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", PACKAGE]):
        subprocess.run(["apt-get", *words], env=quiet, check=True, stdin=subprocess.DEVNULL, timeout=600)


def _answers(server: PostgresqlServer) -> bool:
    try:
        server.admin().close()
    except psycopg.OperationalError:
        return False
    return True
