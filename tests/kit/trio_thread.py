"""What runs on Trio, for a test that runs on asyncio."""

import asyncio
import functools
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final, TypeVar

import trio

_T = TypeVar("_T")

LIMIT: Final = 30.0
"""Seconds that a thread, or a test on asyncio, may take."""


@contextmanager
def in_trio_thread(make: Callable[[], AbstractAsyncContextManager[_T]]) -> Iterator[_T]:
    """Enter an async context manager in a Trio run of its own; leave it after the block."""
    entered: queue.Queue[tuple[_T, Callable[[], None]] | BaseException] = queue.Queue()
    failures: list[BaseException] = []

    async def main() -> None:
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()
        with trio.fail_after(LIMIT):
            async with make() as value:
                entered.put((value, functools.partial(token.run_sync_soon, done.set)))
                await done.wait()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as exc:  # noqa: BLE001  (it is raised in the thread of the test)
            failures.append(exc)
            entered.put(exc)

    thread = threading.Thread(target=run, name="trio of a test")
    thread.start()
    try:
        first = entered.get(timeout=LIMIT)
        if isinstance(first, BaseException):
            raise first
        value, stop = first
        try:
            yield value
        finally:
            stop()
    finally:
        thread.join(LIMIT)
    assert not thread.is_alive()
    assert not failures, failures


def run_asyncio(main: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a coroutine on asyncio, within a limit; warnings of what is left open are errors."""

    async def limited() -> None:
        loop = asyncio.get_running_loop()
        faults: list[dict[str, object]] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        async with asyncio.timeout(LIMIT):
            await main()
        assert not faults, faults

    asyncio.run(limited())
