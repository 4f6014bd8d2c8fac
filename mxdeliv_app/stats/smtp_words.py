"""Why SMTP failed for a domain a moment ago, for the reply to a message that no road took.

smtp(8) tells us nothing when it hands a message over as to its fallback relay; its log does (`smtp_log.py`).
The failure under way is logged only after our reply, so these are the words of the attempt before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store.errors import last_errors

# Twice the longest that Postfix waits between two attempts (maximal_backoff_time).
_RECENT = timedelta(hours=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SmtpWords:
    """What the store knows; safe for threads."""

    engine: Engine

    def of(self, domain: str) -> str:
        """The last words, naming nobody; empty where there are none, or the store is away."""
        now = datetime.now(UTC)
        try:
            known = last_errors(self.engine, domain, now)
        except SQLAlchemyError as error:
            log.error("event=smtp-words-unread error=%s", type(error).__name__)
            return ""
        recent = (one.words for one in known if one.road == "smtp" and now - one.at < _RECENT)
        return next(filter(None, recent), "")
