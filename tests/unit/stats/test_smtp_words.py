"""What a deferred message's reply says of SMTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chatmail_milter.store.contacts import Contact, Road
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.tables import metadata
from mxdeliv_app.stats.smtp_words import SmtpWords

NO_TLS = "TLS is required, but was not offered by host mail.b.test[192.0.2.1]"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path / 'store.db'}")


def failed(domain: str, words: str, ago: timedelta, road: Road = "smtp") -> Contact:
    at = datetime.now(UTC) - ago
    return Contact(domain, road, False, None, "tls", at, words=words)


def test_last_words_of_smtp_are_told(engine: Engine) -> None:
    minute = timedelta(minutes=1)
    Peers(engine).add([failed("b.test", "old", 3 * minute), failed("b.test", NO_TLS, 2 * minute)])
    Peers(engine).add([failed("b.test", "404", minute, "https"), failed("c.test", "other", minute)])
    assert SmtpWords(engine).of("b.test") == NO_TLS


def test_old_words_are_not(engine: Engine) -> None:
    Peers(engine).add([failed("b.test", NO_TLS, timedelta(hours=2))])
    assert SmtpWords(engine).of("b.test") == ""


def test_nothing_is_told_of_a_store_that_is_away(engine: Engine) -> None:
    metadata.drop_all(engine)
    assert SmtpWords(engine).of("b.test") == ""
