"""The memory of requests on disk: restarts, other processes, and what can go wrong with it."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import lmdb
import pytest
import trio

from trio_vmess.core.vmess import ForgottenTimes
from trio_vmess.node import replay_store
from trio_vmess.node.replay_store import LastingMemory, ReplayStore
from trio_vmess.node.state_folder import StateFolders

NOW = 1_700_000_000


def key_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def open_store(path: Path, **options: int) -> ReplayStore:
    return ReplayStore(path, forgotten=ForgottenTimes(), **options)


def folders_in(base: Path, boot: str = "one") -> StateFolders:
    boot_id = base / "boot_id"
    boot_id.write_text(boot)
    return StateFolders(base=base, name="node", boot_id=boot_id)


@asynccontextmanager
async def running(memory: LastingMemory) -> AsyncIterator[LastingMemory]:
    async with trio.open_nursery() as nursery:
        await nursery.start(memory.run)
        yield memory
        nursery.cancel_scope.cancel()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, logger="trio_vmess.node.replay_store")
    return lambda: [record.getMessage() for record in caplog.records]


# The store ----------------------------------------------------------------------------------------


def test_a_key_is_added_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.add(key_of(1), NOW)
    assert not store.add(key_of(1), NOW)
    assert store.add(key_of(2), NOW)
    assert len(store) == 2
    store.close()


def test_what_was_added_is_there_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.add(key_of(1), NOW)
    store.close()
    again = open_store(tmp_path)
    assert not again.add(key_of(1), NOW)
    again.close()


def test_sweeping_goes_by_slices_and_the_oldest_first(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(10):
        assert store.add(key_of(number), NOW - number)
    assert not store.sweep(NOW - 2, 4)
    assert len(store) == 6
    assert [number for number in range(12) if NOW - number in store.forgotten] == [6, 7, 8, 9]
    assert store.sweep(NOW - 2, 4)
    assert len(store) == 3
    assert store.sweep(NOW - 2, 0)
    assert store.sweep(NOW + 1, 3)
    assert len(store) == 0
    assert store.add(key_of(1), NOW)
    store.close()


@pytest.mark.parametrize("second", [-5, 0, 2**33, 2**63 - 1])
def test_strange_times(tmp_path: Path, second: int) -> None:
    store = open_store(tmp_path)
    assert store.add(key_of(1), second)
    assert not store.add(key_of(1), second)
    assert store.sweep(-10, 10)
    assert len(store) == 1
    store.close()


def test_space_is_allocated_before_it_is_needed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    file = tmp_path / "data.mdb"
    for number in range(100_000):
        store.add(os.urandom(16), NOW + number // 1000)
        if number % 1000 == 0:
            store.sweep(NOW - 300, 200)
            used = (store._environment.info()["last_pgno"] + 1) * 4096
            assert file.stat().st_blocks * 512 >= used + replay_store.AHEAD
    assert file.stat().st_blocks * 512 < used + 4 * replay_store.AHEAD
    store.close()


_OTHER_PROCESS = """
import sys
from pathlib import Path
from trio_vmess.core.vmess import ForgottenTimes
from trio_vmess.node.replay_store import ReplayStore

store = ReplayStore(Path(sys.argv[1]), forgotten=ForgottenTimes())
print("ready", flush=True)
sys.stdin.readline()
print(sum(store.add(number.to_bytes(16, "big"), 1_700_000_000) for number in range(20_000)))
sys.stdout.flush()
if sys.argv[2] == "wait":
    sys.stdin.readline()
"""


def start_process(path: Path, how: str = "end") -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_of_several_processes_one_admits_a_request(tmp_path: Path) -> None:
    processes = [start_process(tmp_path) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(process.communicate()[0]) for process in processes]
    assert sum(counts) == 20_000


def test_a_process_that_is_killed_leaves_what_it_knew(tmp_path: Path) -> None:
    process = start_process(tmp_path, "wait")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "20000\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = open_store(tmp_path)
    assert len(store) == 20_000
    assert not store.add(key_of(19_999), NOW)
    store.close()


# What a node has of it ----------------------------------------------------------------------------


async def test_a_node_remembers_after_a_restart(tmp_path: Path) -> None:
    async with running(LastingMemory(folders_in(tmp_path))) as memory:
        assert memory.lasts
        assert memory.add(key_of(1), NOW)
        assert len(memory) == 1
    assert not memory.lasts
    async with running(LastingMemory(folders_in(tmp_path))) as memory:
        assert not memory.add(key_of(1), NOW)
        assert memory.sweep(NOW + 1, 10)
        assert NOW in memory.forgotten
        assert len(memory) == 0


async def test_a_file_of_another_boot_is_not_opened(tmp_path: Path) -> None:
    async with running(LastingMemory(folders_in(tmp_path))) as memory:
        assert memory.add(key_of(1), NOW)
    (tmp_path / "node" / "data.mdb").write_bytes(b"half there")
    async with running(LastingMemory(folders_in(tmp_path, "two"))) as memory:
        assert memory.lasts
        assert memory.add(key_of(1), NOW)


async def test_a_broken_file_is_replaced(tmp_path: Path, warnings: Callable[[], list[str]]) -> None:
    async with running(LastingMemory(folders_in(tmp_path))):
        pass
    (tmp_path / "node" / "data.mdb").write_bytes(b"\xff" * 8192)
    async with running(LastingMemory(folders_in(tmp_path))) as memory:
        assert memory.lasts
        assert memory.add(key_of(1), NOW)
    (line,) = warnings()
    assert line.startswith("replay.store_replaced path=")


async def test_two_nodes_of_one_configuration(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    async with (
        running(LastingMemory(folders_in(tmp_path))) as first,
        running(LastingMemory(folders_in(tmp_path))) as second,
    ):
        assert (first.lasts, second.lasts) == (True, False)
        assert second.add(key_of(1), NOW)
        assert not second.add(key_of(1), NOW)
    (line,) = warnings()
    assert "replay.forgets_at_exit" in line
    assert "in use by another node" in line


async def test_a_usual_place_that_cannot_be_written_is_no_warning(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    (tmp_path / "file").write_text("")
    boot = folders_in(tmp_path).boot_id
    for is_chosen in (False, True):
        folders = StateFolders(
            base=tmp_path / "file", name="node", is_chosen=is_chosen, boot_id=boot
        )
        async with running(LastingMemory(folders)) as memory:
            assert not memory.lasts
            assert memory.add(key_of(1), NOW)
            assert not memory.add(key_of(1), NOW)
        assert len(warnings()) == is_chosen


async def test_no_lasting_memory_is_wanted(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    async with running(LastingMemory(StateFolders(base=None, name=""))) as memory:
        assert not memory.lasts
        assert memory.add(key_of(1), NOW)
    assert warnings() == []


async def test_a_full_file_is_one_warning_and_forgets_nothing(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    folders = folders_in(tmp_path)
    async with running(LastingMemory(folders, map_size=256 * 1024)) as memory:
        keys = [os.urandom(16) for _ in range(10_000)]
        for number, key in enumerate(keys):
            assert memory.add(key, NOW + number // 1000)
        assert warnings() == ["replay.forgets_at_exit reason='the file is full'"]
        assert len(memory) == 10_000
        assert not any(memory.add(key, NOW + number // 1000) for number, key in enumerate(keys))


async def test_a_file_that_fails_is_one_warning(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    async with running(LastingMemory(folders_in(tmp_path))) as memory:
        assert memory._store is not None

        def fail(key: bytes, second: int) -> bool:
            raise lmdb.CorruptedError("a broken page")

        memory._store.add = fail  # type: ignore[method-assign]
        for number in range(3):
            assert memory.add(key_of(number), NOW)
            assert not memory.add(key_of(number), NOW)
        assert not memory.lasts
    (line,) = warnings()
    assert "a broken page" in line


async def test_a_full_disk_is_one_warning(
    tmp_path: Path, warnings: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int, _start: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    async with running(LastingMemory(folders_in(tmp_path))) as memory:
        assert memory._store is not None
        memory._store._reserved = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", fail)
            assert memory.sweep(NOW, 10)
        assert not memory.lasts
        assert memory.add(key_of(1), NOW)
    monkeypatch.setattr(os, "posix_fallocate", fail)
    async with running(LastingMemory(folders_in(tmp_path))) as memory:
        assert not memory.lasts
        assert memory.add(key_of(1), NOW)
    assert [line.count("No space left on device") for line in warnings()] == [1, 1]
