"""The memory of requests that outlives the process, and that several processes can share.

It is an LMDB file: a key is the second of a request (8 bytes, big endian) and the 16 bytes that it
is known by; there are no values. One write transaction asks and remembers in one step, in 2 µs: its
lock is in the file's memory, so a process that dies lets it go. Only write transactions are used,
so no reader can keep old pages alive. Keys of one second lie together: sweeping is a range.

Nothing is synced to the disk. The kernel has what a process that was killed had written; what a
machine that went down had written may be half there, so a file of another boot is never opened.
Pages are written through a map of the file: where the disk is full, that ends the process. So disk
space is allocated ahead of what the file needs next, and if it cannot be, the file is given up.

When the file is full or fails, requests are remembered in this process alone, with one warning.
"""

import contextlib
import logging
import os
import struct
from pathlib import Path
from typing import Final

import lmdb
import trio

from trio_vmess.core.vmess import DEFAULT_CAPACITY, REPLAY_KEY_SIZE, ForgottenTimes, OwnMemory
from trio_vmess.node.state_folder import StateError, StateFolder, StateFolders

log: Final = logging.getLogger("trio_vmess.node.replay_store")

MAP_SIZE: Final = 128 << 20
"""Bytes of the file at most, for some three million requests; it takes what it uses."""

AHEAD: Final = 4 << 20
"""Bytes that are allocated beyond what is used: many times what a second can need."""

_pack: Final = struct.Struct(f">Q{REPLAY_KEY_SIZE}s").pack
_SECOND: Final = struct.Struct(">Q")


class ReplayStore:
    """Requests in an LMDB file: a `ReplayMemory`.

    Args:
        path: a folder that exists, for LMDB's files.
        forgotten: where it is noted what sweeping forgets.
        map_size: bytes of the file at most.

    Raises:
        lmdb.Error: it cannot be opened; any method may raise this, too.
        OSError: there is no space on the disk; `sweep` may raise this, too.
    """

    def __init__(self, path: Path, *, forgotten: ForgottenTimes, map_size: int = MAP_SIZE) -> None:
        self.forgotten = forgotten
        self._map_size = map_size
        self._reserved = 0
        # Without a way to allocate, pages are written by calls, which can say that there is no
        # space; that takes three times as long.
        self._environment = lmdb.open(
            str(path),
            map_size=map_size,
            writemap=hasattr(os, "posix_fallocate"),
            map_async=True,
            sync=False,
            metasync=False,
            mode=0o600,
        )
        try:
            self._page_size = self._environment.stat()["psize"]
            self._file = os.open(path / "data.mdb", os.O_RDWR | os.O_CLOEXEC)
            try:
                self._reserve()
            except OSError:
                os.close(self._file)
                raise
        except OSError:
            self._environment.close()
            raise

    def __len__(self) -> int:
        """How many requests are remembered."""
        return self._environment.stat()["entries"]

    def add(self, key: bytes, second: int) -> bool:
        """See `ReplayMemory.add`."""
        transaction = self._environment.begin(write=True)
        try:
            is_new = transaction.put(_pack(max(second, 0), key), b"", overwrite=False)
        except lmdb.Error:
            transaction.abort()
            raise
        transaction.commit()
        return is_new

    def sweep(self, before: int, count: int) -> bool:
        """See `ReplayMemory.sweep`; allocates space for what comes, too."""
        self._reserve()
        end = _SECOND.pack(max(before, 0))
        with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.first()
            # Behind the last one, the key is empty.
            while (key := cursor.key()) and key < end:
                if count <= 0:
                    return False
                self.forgotten.add(_SECOND.unpack_from(key)[0])
                cursor.delete()
                count -= 1
        return True

    def close(self) -> None:
        """Let the file go; what it holds stays."""
        self._environment.close()
        os.close(self._file)

    def _reserve(self) -> None:
        used = (self._environment.info()["last_pgno"] + 1) * self._page_size
        wanted = min(used + AHEAD, self._map_size)
        if wanted > self._reserved and hasattr(os, "posix_fallocate"):
            wanted = min(wanted + AHEAD, self._map_size)
            os.posix_fallocate(self._file, 0, wanted)
            self._reserved = wanted


class LastingMemory:
    """Requests in a store where there can be one, and in this process otherwise.

    It is a `ReplayMemory`, and a `Service` that opens the store: after the process has forked.

    Args:
        folders: where a folder for the store can be had.
        map_size: as for `ReplayStore`.
    """

    def __init__(self, folders: StateFolders, *, map_size: int = MAP_SIZE) -> None:
        self.forgotten = ForgottenTimes()
        self._own = OwnMemory(DEFAULT_CAPACITY, forgotten=self.forgotten)
        self._folders = folders
        self._map_size = map_size
        self._store: ReplayStore | None = None
        self._has_warned = False

    def __len__(self) -> int:
        """How many requests are remembered."""
        return len(self._own) + (0 if self._store is None else len(self._store))

    @property
    def lasts(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def add(self, key: bytes, second: int) -> bool:
        """See `ReplayMemory.add`."""
        if self._store is None:
            return self._own.add(key, second)
        if key in self._own:
            return False
        try:
            return self._store.add(key, second)
        except lmdb.MapFullError:
            # Known requests were refused before space was needed.
            self._warn("the file is full")
        except lmdb.Error as exc:
            self._give_up(exc)
        return self._own.add(key, second)

    def sweep(self, before: int, count: int) -> bool:
        """See `ReplayMemory.sweep`."""
        is_done = self._own.sweep(before, count)
        if self._store is not None:
            try:
                is_done &= self._store.sweep(before, count)
            except (lmdb.Error, OSError) as exc:
                self._give_up(exc)
        return is_done

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Service.run`."""
        with contextlib.ExitStack() as stack:
            try:
                folder = self._folders.claim()
            except StateError as exc:
                level = logging.WARNING if exc.is_unexpected else logging.INFO
                log.log(level, "replay.forgets_at_exit reason=%r", str(exc))
            else:
                if folder is not None:
                    stack.callback(folder.release)
                    self._open(folder)
                    stack.callback(self._close)
            task_status.started()
            await trio.sleep_forever()

    def _open(self, folder: StateFolder) -> None:
        try:
            self._store = self._try_to_open(folder)
        except (lmdb.Error, OSError) as exc:
            self._warn(str(exc))
            return
        log.info("replay.store path=%s requests=%d", folder.path, len(self._store))

    def _try_to_open(self, folder: StateFolder) -> ReplayStore:
        try:
            return ReplayStore(folder.path, forgotten=self.forgotten, map_size=self._map_size)
        except lmdb.Error as exc:
            # A memory that cannot be read is worth nothing, but a new one is.
            log.warning("replay.store_replaced path=%s reason=%r", folder.path, str(exc))
            folder.clear()
            return ReplayStore(folder.path, forgotten=self.forgotten, map_size=self._map_size)

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _give_up(self, exc: Exception) -> None:
        self._warn(str(exc))
        self._close()

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("replay.forgets_at_exit reason=%r", reason)
