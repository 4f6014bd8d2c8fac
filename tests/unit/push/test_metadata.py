"""METADATA entries: tokens of several devices, the relay's own entries, and no others."""

from __future__ import annotations

import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from chatmail_milter import config
from chatmail_milter.calls import turn
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.push import DeviceTokens
from mxdeliv_app.push.daemon import deltachat_entries
from mxdeliv_app.push.dict_protocol import EntryChange, EntryRefusedError
from mxdeliv_app.push.metadata import Metadata
from tests import stores

ALICE = "alice123@a.example"
BOX = "07d222018497036b2400000083ecc375"
TOKEN = f"priv/{BOX}/devicetoken"
# What Dovecot 2.3.19 makes of an entry on "".
SERVER = f"{BOX}/vendor/vendor.dovecot/pvt/server"
DELTACHAT = f"shared/{SERVER}/vendor/deltachat"
SETTINGS = """
mail = { domain = "a.example", max_recipients = 1000 }
metadata.deltachat = { irohrelay = "https://iroh.example", appversions = "android: 2.1" }
"""


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    engine = open_store(stores.made(tmp_path / "store.sqlite"))
    Accounts(engine).create(ALICE, "{PLAIN}x")
    tokens = DeviceTokens(engine, timedelta(days=90), lambda: date(2026, 3, 2))
    return Metadata(tokens, deltachat_entries(config.parse(SETTINGS)))


def test_each_set_adds_a_token_and_get_tells_all(metadata: Metadata) -> None:
    assert metadata.lookup(ALICE, TOKEN) is None
    for token in ("openpgp:wV4DAAAA+/==", "fcm-chat.delta:c67D_x-y"):
        metadata.change(ALICE, [EntryChange(TOKEN, token)])
    told = metadata.lookup(ALICE, TOKEN)
    assert told is not None
    assert sorted(told.split(" ")) == ["fcm-chat.delta:c67D_x-y", "openpgp:wV4DAAAA+/=="]
    metadata.change(ALICE, [EntryChange(TOKEN, None)])
    assert metadata.lookup(ALICE, TOKEN) is None


def test_what_the_configuration_sets_is_told(metadata: Metadata) -> None:
    assert metadata.lookup(ALICE, f"{DELTACHAT}/maxsmtprecipients") == "1000"
    assert metadata.lookup(ALICE, f"{DELTACHAT}/irohrelay") == "https://iroh.example"
    assert metadata.lookup(ALICE, f"{DELTACHAT}/appversions") == "android: 2.1"
    assert metadata.lookup(ALICE, f"{DELTACHAT}/turn") is None
    assert metadata.lookup(ALICE, f"shared/{BOX}/comment") is None


@pytest.fixture
def with_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Metadata:
    path = tmp_path / "turn.secrets"
    path.write_text("a" * 64)
    monkeypatch.setenv("CHATMAIL_TURN_SECRETS", str(path))
    tokens = DeviceTokens(open_store(stores.made(tmp_path / "store.sqlite")), timedelta(days=90))
    settings = config.parse(f'{SETTINGS}turn = "chat.example:3478"\n'.replace("metadata.", "[metadata]\n"))
    return Metadata(tokens, deltachat_entries(settings))


def test_credentials_for_calls_are_made_when_they_are_asked_for(with_calls: Metadata, tmp_path: Path) -> None:
    before = time.time()
    host, port, username, password = (with_calls.lookup(ALICE, f"{DELTACHAT}/TURN") or "").split(":")
    assert (host, port) == ("chat.example", "3478")
    assert before + 5 * 86400 - 1 < int(username) <= time.time() + 5 * 86400
    assert password == turn.password("a" * 64, username)
    # A new secret is in use at once.
    (tmp_path / "turn.secrets").write_text(f"{'b' * 64}\n{'a' * 64} 9999999999\n")
    *_, username, password = (with_calls.lookup(ALICE, f"{DELTACHAT}/turn") or "").split(":")
    assert password == turn.password("b" * 64, username)


def test_credentials_cannot_be_set_or_removed(with_calls: Metadata) -> None:
    for value in ("x", None):
        with pytest.raises(EntryRefusedError, match="no such entry"):
            with_calls.change(ALICE, [EntryChange(f"{DELTACHAT}/turn", value)])


def test_without_a_secret_there_are_the_other_entries(
    with_calls: Metadata, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "turn.secrets").write_text("secret of another form")
    assert with_calls.lookup(ALICE, f"{DELTACHAT}/turn") is None
    assert with_calls.lookup(ALICE, f"{DELTACHAT}/irohrelay") == "https://iroh.example"
    assert "event=turn-secrets" in caplog.text
    assert "another form" not in caplog.text


@pytest.mark.parametrize(
    "token", ["", " ", "two words", "line\nend", "tab\t", "nul\0", "é", "x" * 4097, "x" * 1_000_000]
)
def test_what_is_no_token_is_refused(metadata: Metadata, token: str) -> None:
    with pytest.raises(EntryRefusedError, match="no device token"):
        metadata.change(ALICE, [EntryChange(TOKEN, token)])
    assert metadata.lookup(ALICE, TOKEN) is None


def test_a_token_as_long_as_apps_may_send_is_taken(metadata: Metadata) -> None:
    metadata.change(ALICE, [EntryChange(TOKEN, "x" * 4096)])
    assert metadata.lookup(ALICE, TOKEN) == "x" * 4096


# What Dovecot 2.3.19 removes with a mailbox: RFC 5464, 3.2.1.
COMMENTS = (f"priv/{BOX}/comment", f"shared/{BOX}/comment")
UNKEPT = (
    *COMMENTS,
    f"{DELTACHAT}/turn",
    f"shared/{BOX}/devicetoken",
    f"priv/{SERVER}/devicetoken",
    f"priv/{BOX}/devicetoken/x",
    "priv/../devicetoken",
    "",
)


@pytest.mark.parametrize("key", [*UNKEPT, f"{DELTACHAT}/maxsmtprecipients"])
def test_no_other_entry_can_be_set(metadata: Metadata, key: str) -> None:
    with pytest.raises(EntryRefusedError, match="no such entry"):
        metadata.change(ALICE, [EntryChange(key, "x")])


@pytest.mark.parametrize("key", UNKEPT)
@pytest.mark.parametrize("user", [ALICE, "nobody12@a.example", ""])
def test_to_remove_what_is_not_kept_succeeds(metadata: Metadata, key: str, user: str) -> None:
    metadata.change(user, [EntryChange(key, None)])


@pytest.mark.parametrize("name", ["maxsmtprecipients", "MaxSMTPrecipients", "irohrelay"])
def test_what_the_configuration_sets_cannot_be_removed(metadata: Metadata, name: str) -> None:
    with pytest.raises(EntryRefusedError, match="no such entry"):
        metadata.change(ALICE, [EntryChange(f"{DELTACHAT}/{name}", None)])


def test_a_deleted_mailbox_takes_no_token_with_it(metadata: Metadata) -> None:
    metadata.change(ALICE, [EntryChange(TOKEN, "token")])
    metadata.change(ALICE, [EntryChange(one, None) for one in COMMENTS])
    assert metadata.lookup(ALICE, TOKEN) == "token"
    metadata.change(ALICE, [EntryChange(COMMENTS[0], None), EntryChange(TOKEN, "other")])
    assert sorted((metadata.lookup(ALICE, TOKEN) or "").split()) == ["other", "token"]


def test_a_mailbox_can_be_deleted_while_the_store_is_away(tmp_path: Path) -> None:
    engine = open_store(stores.made(tmp_path / "store.sqlite"))
    metadata = Metadata(DeviceTokens(engine, timedelta(days=90)), {})
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE push_notices"))
        connection.execute(text("DROP TABLE device_tokens"))
    metadata.change(ALICE, [EntryChange(one, None) for one in COMMENTS])


def test_where_one_change_is_refused_none_is_made(metadata: Metadata) -> None:
    with pytest.raises(EntryRefusedError):
        metadata.change(ALICE, [EntryChange(TOKEN, "good"), EntryChange(TOKEN, "not good")])
    assert metadata.lookup(ALICE, TOKEN) is None


@pytest.mark.parametrize("user", ["", "nobody12@a.example", "ALICE123@a.example", "../x@a.example", "x\n"])
def test_who_has_no_account_has_no_entries(metadata: Metadata, user: str) -> None:
    assert metadata.lookup(user, TOKEN) is None
    with pytest.raises(EntryRefusedError):
        metadata.change(user, [EntryChange(TOKEN, "token")])


def test_a_store_that_fails_is_a_refusal_and_names_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_store(stores.made(tmp_path / "store.sqlite"))
    metadata = Metadata(DeviceTokens(engine, timedelta(days=90)), {})
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE push_notices"))
        connection.execute(text("DROP TABLE device_tokens"))
    with pytest.raises(EntryRefusedError, match="not now"):
        metadata.change(ALICE, [EntryChange(TOKEN, "secret-token")])
    with pytest.raises(EntryRefusedError, match="not now"):
        metadata.lookup(ALICE, TOKEN)
    assert "event=store-failed error=OperationalError" in caplog.text
    assert "secret-token" not in caplog.text
    assert "alice123" not in caplog.text
