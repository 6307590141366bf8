"""Waiting for what only the rest of the world can bring about."""

from collections.abc import Callable
from typing import Final

import trio

_PAUSE: Final = 0.01


async def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again until the condition holds; the test's own deadline bounds it."""
    while not condition():  # noqa: ASYNC110  (sockets of other programs set no event)
        await trio.sleep(_PAUSE)
