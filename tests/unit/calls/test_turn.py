"""Secrets of the TURN server: the file, its rotation, coturn's database, and credentials of apps."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from chatmail_milter.calls import turn
from chatmail_milter.calls.turn import TurnSecret, TurnSecretsError
from tests.unit.chatmailctl import run

A, B, C = "a" * 64, "b" * 64, "c" * 32
DAY = 86400


def test_password_is_the_hmac_of_the_user_name() -> None:
    # RFC 2202, 3: test case 2.
    digest = bytes.fromhex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
    assert turn.password("Jefe", "what do ya want for nothing?") == base64.b64encode(digest).decode()


def test_password_is_what_openssl_computes() -> None:
    command = ["openssl", "dgst", "-sha1", "-hmac", A, "-binary"]
    made = subprocess.run(command, input=b"1793000000", capture_output=True, check=True).stdout
    assert turn.password(A, "1793000000") == base64.b64encode(made).decode()


def test_entry_has_four_parts_and_expires_in_five_days() -> None:
    kept = [TurnSecret(A), TurnSecret(B, 2_000_000_000)]
    host, port, username, password = turn.entry("chat.example.org:3478", kept, 1_792_568_000.9).split(":")
    assert (host, port, username) == ("chat.example.org", "3478", "1793000000")
    assert password == turn.password(A, "1793000000")


@pytest.mark.parametrize("text", [A, f"{A}\n", f"{A}\n{B} 1793000000\n{C} 5\n"])
def test_the_first_line_is_in_use(text: str) -> None:
    assert turn.parse(text)[0] == TurnSecret(A)
    assert all(one.until is not None for one in turn.parse(text)[1:])


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "short", f"{A} ", f"{A}\n\n{B} 5", f"{A}\n{B}", f"{B} 5\n{A}", f"{B} 5", f"{A} -5",
        f"{A}\n{B} 5.5", f"{A}\n{B} 5 6", f"{A}\n{B}\t5", f"'; DROP TABLE turn_secret; --{A}", "é" * 64,
        A * 3, f"{A}\0", f" {A}", f"{A}\n{B} {10**13}",
    ],
)  # fmt: skip
def test_malformed_secrets_are_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets").write_text(text, "utf-8")
    with pytest.raises(TurnSecretsError) as refused:
        turn.read(tmp_path / "secrets")
    assert A not in str(refused.value)
    assert B not in str(refused.value)


def test_former_secret_is_valid_until_the_overlap_ends() -> None:
    kept = turn.rotated([TurnSecret(A), TurnSecret(B, 150), TurnSecret(C, 100)], 100, 5 * DAY)
    fresh = kept[0]
    assert fresh.until is None
    assert len(fresh.value) == 64
    assert kept[1:] == [TurnSecret(A, 100 + 5 * DAY), TurnSecret(B, 150)]
    assert turn.valid(kept, 200) == [fresh, kept[1]]
    assert turn.valid(kept, 100 + 5 * DAY) == [fresh]
    assert turn.rotated(kept, 100, 0)[1:] == kept[1:]


def test_a_secret_is_never_made_twice() -> None:
    assert turn.rotated([TurnSecret(A)], 0, 1)[0] != turn.rotated([TurnSecret(A)], 0, 1)[0]


def test_written_file_has_the_mode_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(A)
    path.chmod(0o640)
    turn.write(path, [TurnSecret(B), TurnSecret(A, 5)])
    assert path.read_text() == f"{B}\n{A} 5\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with the table of coturn's schema.sql."""
    with closing(sqlite3.connect(tmp_path / "turndb")) as connection, connection:
        connection.execute(
            "CREATE TABLE turn_secret (realm varchar(127) default '', value varchar(256),"
            " primary key (realm, value))"
        )
        connection.execute("INSERT INTO turn_secret VALUES ('earlier.test', ?)", (C,))
    return tmp_path / "turndb"


def rows(database: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return set(connection.execute("SELECT realm, value FROM turn_secret"))


def test_coturn_gets_the_valid_secrets_and_no_others(database: Path) -> None:
    assert turn.publish([TurnSecret(A), TurnSecret(B, 5)], "chat.test", database)
    assert rows(database) == {("chat.test", A), ("chat.test", B)}
    assert not turn.publish([TurnSecret(B, 5), TurnSecret(A)], "chat.test", database)
    assert turn.publish([TurnSecret(A)], "other.test", database)
    assert rows(database) == {("other.test", A)}


def test_nothing_is_written_where_nothing_differs(database: Path) -> None:
    turn.publish([TurnSecret(A)], "chat.test", database)
    before = database.stat().st_mtime_ns
    turn.publish([TurnSecret(A)], "chat.test", database)
    assert database.stat().st_mtime_ns == before


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "turn.secrets"
    path.write_text(f"{A}\n{B} 5\n{C} 9999999999\n")
    monkeypatch.setenv("CHATMAIL_TURN_SECRETS", str(path))
    return path


def test_publish_leaves_expired_secrets_out(secrets: Path, database: Path) -> None:
    result = run("calls", "publish", "chat.test", "--database", str(database))
    assert (result.exit_code, result.output) == (0, "event=turn-secrets-published\n")
    assert rows(database) == {("chat.test", A), ("chat.test", C)}
    assert run("calls", "publish", "chat.test", "--database", str(database)).output == ""


def test_publish_fails_without_a_database_or_secrets(secrets: Path, tmp_path: Path, database: Path) -> None:
    missing = run("calls", "publish", "chat.test", "--database", str(tmp_path / "none"))
    assert missing.exit_code == 1
    assert not (tmp_path / "none").exists()
    secrets.unlink()
    unread = run("calls", "publish", "chat.test", "--database", str(database))
    assert unread.exit_code == 1
    assert "turn.secrets" in unread.stderr
    assert rows(database) == {("earlier.test", C)}


def test_rotate_asks_before_credentials_become_invalid_early(secrets: Path) -> None:
    before = secrets.read_text()
    assert "add --yes" in run("calls", "rotate", "--overlap", "1h").stderr
    assert run("calls", "rotate", "--overlap", "soon").exit_code == 2
    assert secrets.read_text() == before
