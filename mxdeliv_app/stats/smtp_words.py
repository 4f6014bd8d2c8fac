"""Why SMTP failed for a domain at the last attempt, for the reply if HTTPS fails, too.

smtp(8) gives no reason when it passes a message to its fallback relay; its log has one (`smtp_log.py`). It
logs the present failure only after our reply, so the text is that of the attempt before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store.peer_trouble import last_errors

# Twice the longest that Postfix waits between two attempts (maximal_backoff_time).
_RECENT = timedelta(hours=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SmtpWords:
    """Reads the texts from the store. Thread-safe."""

    engine: Engine

    def of(self, domain: str) -> str:
        """The last text, without addresses; empty if there is none, or if the store fails."""
        now = datetime.now(UTC)
        try:
            known = last_errors(self.engine, domain, now)
        except SQLAlchemyError as error:
            log.error("event=smtp-words-unread error=%s", type(error).__name__)
            return ""
        recent = (one.words for one in known if one.road == "smtp" and now - one.at < _RECENT)
        return next(filter(None, recent), "")
