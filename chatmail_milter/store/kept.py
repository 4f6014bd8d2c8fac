"""Retention times that are not settings, in a module that programs can import without SQLAlchemy."""

from __future__ import annotations

from datetime import timedelta

REFUSALS_KEPT = timedelta(days=1)
TRAFFIC_KEPT = timedelta(days=90)
