"""One receiver of `POST /mxdeliv` for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blackbox.web.receiver import Receiver, receiving


@pytest.fixture(scope="session")
def _receiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("app")) as receiver:
        yield receiver


@pytest.fixture
def receiver(_receiving: Receiver) -> Receiver:
    """mxdeliv-app, with nothing said to it yet."""
    for port in (_receiving.inject, _receiving.mixed):
        port.afresh()
    return _receiving
