"""How long the store keeps what no setting says; apart from the tables, for programs without SQLAlchemy."""

from __future__ import annotations

from datetime import timedelta

REFUSALS_KEPT = timedelta(days=1)
TRAFFIC_KEPT = timedelta(days=90)
