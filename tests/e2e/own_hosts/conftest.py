"""What differs here from the tests of the relays."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _names_lead_where_they_did() -> None:
    """Nothing here publishes DNS records, and another process may publish the relays' meanwhile."""
