"""A folder of files that anybody may read, and nothing outside of it."""

import contextlib
import errno
import mimetypes
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import attrs
import trio

from trio_vmess.core.carriage import NginxPage
from trio_vmess.core.carriage.site import FileFacts, Target

PIECE: Final = 128 * 1024
"""Bytes that are read at once; a file that is not larger is never held open."""

THREADS: Final = 8
"""Files that are being read at a time; a slow disk makes the others wait."""

INDEX: Final = "index.html"
ERROR_PAGE: Final = "404.html"

_DEFAULT_TYPE: Final = "application/octet-stream"
_ADDED_TYPES: Final = {
    ".avif": "image/avif",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""What older versions of Python do not know."""

_FLAGS: Final[int] = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)
"""Not blocking: opening a FIFO would wait for its writer."""

_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})

_T = TypeVar("_T")


def _types() -> dict[str, str]:
    # An instance of its own does not depend on the files of the system.
    return {**_ADDED_TYPES, **mimetypes.MimeTypes().types_map[True]}


class OpenFile:
    """A file that is being sent.

    Args:
        descriptor: owned by this object from now on; closed at once if there is nothing more.
        facts: about the file.
        begin: its first bytes.
        threads: limits how many files are read at a time.

    Attributes:
        facts: about the file.
        begin: its first bytes; all of them, for most.
    """

    def __init__(
        self, descriptor: int, facts: FileFacts, begin: bytes, threads: trio.CapacityLimiter
    ) -> None:
        self.facts = facts
        self.begin = begin
        self._threads = threads
        self._position = len(begin)
        self._descriptor: int | None = descriptor
        if self._position >= facts.size:
            self.close()

    async def next_piece(self) -> bytes:
        """Return what follows; nothing at the end.

        Raises:
            OSError: the file has become shorter, or cannot be read.
        """
        descriptor, left = self._descriptor, self.facts.size - self._position
        if descriptor is None or left <= 0:
            return b""

        def read() -> bytes:
            os.lseek(descriptor, self._position, os.SEEK_SET)
            return os.read(descriptor, min(left, PIECE))

        piece = await _in_thread(read, self._threads)
        if not piece:
            raise OSError(errno.EIO, "the file has become shorter")
        self._position += len(piece)
        return piece

    def close(self) -> None:
        """Close the file; does nothing the second time."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@attrs.frozen(eq=False)
class Folder:
    """A folder; files are looked up each time, so it may change.

    Symbolic links are followed within the folder, and to nowhere else.

    Attributes:
        path: of the folder; may itself be a link, which may change.
    """

    path: Path
    _threads: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(THREADS), init=False
    )
    _types: dict[str, str] = attrs.field(factory=_types, init=False)

    async def open(self, target: Target) -> OpenFile | NginxPage:
        """Find what a request names; for a folder, that is its index.

        Returns:
            The file, which the caller closes; or why there is none. `MOVED` means that it is a
            folder, and was not named as one.
        """
        return await _in_thread(lambda: self._open(target), self._threads)

    async def open_error_page(self) -> OpenFile | None:
        """Open the folder's own page for what is not found, if there is one."""
        found = await self.open(Target(segments=(ERROR_PAGE,), is_folder=False))
        return found if isinstance(found, OpenFile) else None

    def _open(self, target: Target) -> OpenFile | NginxPage:
        # Only Windows has names with a drive or another separator in them.
        if target.is_hidden or any(os.path.basename(each) != each for each in target.segments):
            return NginxPage.NOT_FOUND
        try:
            root = os.path.realpath(self.path, strict=True)
            path = os.path.join(root, *target.segments)
            return self._open_index(path, root) if target.is_folder else self._open_file(path, root)
        except OSError as exc:
            if exc.errno in _ABSENT:
                return NginxPage.NOT_FOUND
            denied = exc.errno in (errno.EACCES, errno.EPERM)
            return NginxPage.FORBIDDEN if denied else NginxPage.SERVER_ERROR

    def _open_index(self, path: str, root: str) -> OpenFile | NginxPage:
        folder = _real(path, root)
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            return NginxPage.NOT_FOUND
        found: OpenFile | NginxPage = NginxPage.FORBIDDEN
        with contextlib.suppress(FileNotFoundError):
            found = self._open_file(os.path.join(folder, INDEX), root)
        return found if isinstance(found, OpenFile) else NginxPage.FORBIDDEN

    def _open_file(self, path: str, root: str) -> OpenFile | NginxPage:
        real = _real(path, root)
        kind = os.stat(real).st_mode
        if stat.S_ISDIR(kind):
            return NginxPage.MOVED
        if not stat.S_ISREG(kind):
            return NginxPage.NOT_FOUND
        descriptor = os.open(real, _FLAGS)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                os.close(descriptor)
                return NginxPage.NOT_FOUND
            facts = FileFacts(
                size=found.st_size,
                modified=int(found.st_mtime),
                content_type=self._type_of(path),
            )
            begin = os.read(descriptor, min(facts.size, PIECE))
        except BaseException:
            os.close(descriptor)
            raise
        return OpenFile(descriptor, facts, begin, self._threads)

    def _type_of(self, path: str) -> str:
        return self._types.get(os.path.splitext(path)[1].lower(), _DEFAULT_TYPE)


def _real(path: str, root: str) -> str:
    """Return a path without symbolic links.

    Raises:
        FileNotFoundError: it leads out of the root, or to nothing.
        OSError: it cannot be followed.
    """
    real = os.path.realpath(path, strict=True)
    if real != root and not real.startswith(os.path.join(root, "")):
        raise FileNotFoundError(errno.ENOENT, "outside of the folder", path)
    return real


async def _in_thread(function: Callable[[], _T], limiter: trio.CapacityLimiter) -> _T:
    # Not abandoned when cancelled: what it opens would be lost.
    return await trio.to_thread.run_sync(function, limiter=limiter)
