"""A store with a little of everything, and the admin site on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.unit.admin.site import ACT, AdminSite, fill


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = fill(tmp_path_factory.mktemp("store") / "store.sqlite")
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine: Engine) -> AdminSite:
    """With nobody logged in."""
    return AdminSite(engine)


@pytest.fixture
def admin(site: AdminSite) -> AdminSite:
    """With the privileged password."""
    assert site.log_in(ACT).status_code == 200
    return site
