"""The admin pages keep what their OpenAPI document says, whatever is sent: schemathesis makes it up.

https://schemathesis.readthedocs.io/ Without a session everything is 401, and with the read-only password
nothing is changed. No answer is 500.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mxdeliv_app.admin import order_daemon
from mxdeliv_app.admin.sessions import COOKIE
from tests.blackbox.admin.served import BIN, served
from tests.unit.admin.site import ACT, HASHES, READ, fill

EXAMPLES = 4  # of each operation, besides those of its schema's bounds
SECONDS = 600.0
# The orders look at this machine, its journal and DNS. Logging out would end the session of the fuzz.
LEFT_OUT = ("/admin/orders/doctor", "/admin/orders/services", "/admin/orders/trace", "/admin/logout")


def answered(connection: socket.socket) -> None:
    """What `chatmail-orders` does, without a process for each."""
    with connection.makefile("rb") as asked, connection.makefile("wb") as to:
        order_daemon.answer(asked, to)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("admin")


def postfix(programs: Path) -> Path:
    """Postfix's programs, with an empty queue."""
    programs.mkdir()
    for name in ("postqueue", "postsuper"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return programs


@pytest.fixture(scope="module")
def origin(place: Path) -> Iterator[str]:
    fill(place / "store.sqlite").dispose()
    with pytest.MonkeyPatch.context() as patch, served(place, HASHES, execute=answered) as port:
        patch.setenv("CHATMAIL_CONFIG", str(place / "chatmail.toml"))
        # What this machine has of Postfix is not asked.
        patch.setenv("PATH", str(postfix(place / "bin")))
        yield f"https://localhost:{port}"


class AdminProgram:
    """A program with a session."""

    def __init__(self, origin: str, password: str) -> None:
        self._origin = origin
        self._headers: dict[str, str] = {}
        form = urllib.parse.urlencode({"password": password}).encode()
        cookie = str(self._answer("/admin/login", form).headers["Set-Cookie"])
        self._headers = {"Cookie": cookie.partition(";")[0]}
        assert self.cookie.startswith(f"{COOKIE}=")

    @property
    def cookie(self) -> str:
        """As the header field has it."""
        return self._headers["Cookie"]

    def get(self, path: str) -> Any:
        """The JSON of a page."""
        return json.loads(self._answer(path).read())

    def _answer(self, path: str, form: bytes | None = None) -> Any:
        context = ssl._create_unverified_context()  # noqa: S323  (a certificate of the test)
        request = urllib.request.Request(self._origin + path, form, self._headers)  # noqa: S310
        return urllib.request.urlopen(request, context=context, timeout=60)  # noqa: S310


def fuzz(
    origin: str, document: dict[str, Any], place: Path, *words: str, unasked: Sequence[str] = ()
) -> None:
    """Schemathesis finds nothing that the document does not promise, but for the checks `unasked`."""
    file = place / "openapi.json"
    file.write_text(json.dumps(document))
    command = [
        str(BIN / "schemathesis"), "run", str(file), f"--url={origin}", "--tls-verify=false", "--no-color",
        "--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}", "--generation-deterministic",
        "--suppress-health-check=all", "--warnings=off", *words,
        # The schema does not say all of the syntax of a domain; where it knows more, 422 is right.
        f"--exclude-checks={','.join(('positive_data_acceptance', *unasked))}",
        *(f"--exclude-path={path}" for path in LEFT_OUT),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "generated" in done.stdout, done.stdout
    assert "Traceback" not in (place / "log").read_text()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for one in methods.values():
            yield path, one


def given(document: dict[str, Any], token: str) -> None:
    """The cookie and the token of each form are right, so that they are not what all is refused for."""
    del document["security"]
    for _, one in operations(document):
        for kind in one.get("requestBody", {"content": {}})["content"].values():
            if "csrf" in kind["schema"]["properties"]:
                kind["schema"]["properties"]["csrf"] = {"const": token}


def only(document: dict[str, Any], path: str, *statuses: int) -> None:
    """The operations at or below a path have no other answers."""
    for name, one in operations(document):
        if name.startswith(path):
            one["responses"] = {str(code): one["responses"][str(code)] for code in statuses}


def test_with_the_privileged_password_it_is_as_described(origin: str, place: Path) -> None:
    client = AdminProgram(origin, ACT)
    document = client.get("/admin/openapi.json")
    given(document, client.get("/admin/session")["csrf"])
    fuzz(origin, document, place, f"--header=Cookie: {client.cookie}")
    assert client.get("/admin/session")["role"] == "privileged"


def test_with_the_read_only_password_no_order_is_executed(origin: str, place: Path) -> None:
    client = AdminProgram(origin, READ)
    document = client.get("/admin/openapi.json")
    given(document, client.get("/admin/session")["csrf"])
    only(document, "/admin/orders/", 400, 403, 413, 415, 422)
    fuzz(origin, document, place, f"--header=Cookie: {client.cookie}")


def test_without_a_password_all_is_refused(origin: str, place: Path) -> None:
    document = AdminProgram(origin, READ).get("/admin/openapi.json")
    document["security"] = []
    del document["paths"]["/admin/login"]["post"]
    only(document, "/admin", 401)
    # Whether a method is there is nobody's business either.
    fuzz(origin, document, place, unasked=("unsupported_method", "allow_header_conformance"))
