"""The database: accounts, policy, peers. `engine.py` opens it, `tables.py` has the tables.

The retention times that are not settings are here, so that programs can import them without SQLAlchemy.
"""

from datetime import timedelta

REFUSALS_KEPT = timedelta(days=1)
TRAFFIC_KEPT = timedelta(days=90)
