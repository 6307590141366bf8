"""No test of a transport leaves a socket behind."""

from collections.abc import Iterator

import pytest

from tests.kit.sockets import close_sockets


@pytest.fixture(autouse=True)
def _close_sockets() -> Iterator[None]:
    yield
    close_sockets()
