"""Fixtures of pytest. They are not loaded by themselves; a `conftest.py` asks for them:

    pytest_plugins = ["trio_vmess.testing.fixtures"]

All are plain functions, so they work with whatever runs coroutine tests, and without it.
"""  # noqa: D415

from collections.abc import Generator

import pytest

from trio_vmess.library import VMessStream
from trio_vmess.testing.clock import FakeClock
from trio_vmess.testing.pair import vmess_stream_pair
from trio_vmess.testing.server import FakeVMessServer
from trio_vmess.testing.thread import fake_vmess_in_thread


@pytest.fixture
def vmess_clock() -> FakeClock:
    """The clock of `vmess_server`: a test may set it wrong."""
    return FakeClock()


@pytest.fixture
def vmess_server(vmess_clock: FakeClock) -> Generator[FakeVMessServer, None, None]:
    """A fake server that echoes; it runs in a thread."""
    with fake_vmess_in_thread(clock=vmess_clock) as server:
        yield server


@pytest.fixture
def vmess_link(vmess_server: FakeVMessServer) -> str:
    """The share link of `vmess_server`."""
    return vmess_server.link


@pytest.fixture
def vmess_pair() -> tuple[VMessStream, VMessStream]:
    """A client's stream and the server's end of it, connected in memory."""
    return vmess_stream_pair()
