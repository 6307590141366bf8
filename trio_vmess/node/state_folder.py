"""The folder in which a node keeps what is to outlive it, and finds it after a restart.

Its place is $STATE_DIRECTORY, which systemd sets for a service with StateDirectory=, or
$XDG_STATE_HOME/trio-vmess, or ~/.local/state/trio-vmess, unless the configuration names one. In it,
each node has a folder of its own, whose name depends on the configuration's file; or, where there
is none, on what the VMess inbounds are called and where they listen.

Files of another boot are removed: nothing is synced, so what a machine wrote before it went down
may be half there.
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from trio_vmess.config import Config, UnixSocket, VMessInboundSettings

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""What Linux calls the time since the machine was started."""

_LOCK: Final = "lock"
_BOOT: Final = "boot"


class StateError(Exception):
    """A node has no folder.

    Attributes:
        is_unexpected: an operator should know.
    """

    def __init__(self, message: str, *, is_unexpected: bool = True) -> None:
        super().__init__(message)
        self.is_unexpected = is_unexpected


@attrs.frozen(kw_only=True)
class StateFolder:
    """A folder that no other node uses now.

    Attributes:
        path: where it is.
    """

    path: Path
    _lock: int = attrs.field(alias="lock")

    def clear(self) -> None:
        """Remove what nodes have left here.

        Raises:
            OSError: it cannot be removed.
        """
        for each in self.path.iterdir():
            if each.name not in (_LOCK, _BOOT):
                each.unlink()

    def release(self) -> None:
        """Let others have it."""
        os.close(self._lock)


@attrs.frozen(kw_only=True)
class StateFolders:
    """Where a node's folder is.

    Attributes:
        base: what holds the folders of all nodes; None if there is none.
        name: of the node's own; empty if nothing tells it from others.
        is_chosen: the place is in the configuration.
        boot_id: a file that tells one start of the machine from another.
    """

    base: Path | None
    name: str
    is_chosen: bool = False
    boot_id: Path = BOOT_ID

    def claim(self) -> StateFolder | None:
        """Return the node's folder, with nothing in it from another boot; None for none wanted.

        Raises:
            StateError: there is none, or another node has it.
        """
        if self.base is None:
            return None
        if not self.name:
            raise StateError(
                "the node has no configuration file and no fixed port, so nothing tells its "
                "folder from those of others",
                is_unexpected=self.is_chosen,
            )
        try:
            boot = self.boot_id.read_bytes()
        except OSError:
            raise StateError(
                "this system does not say when it was started", is_unexpected=self.is_chosen
            ) from None
        try:
            return self._claim(self.base / self.name, boot)
        except OSError as exc:
            raise StateError(
                f"{exc.filename or self.base}: {exc.strerror}", is_unexpected=self.is_chosen
            ) from None

    def _claim(self, path: Path, boot: bytes) -> StateFolder:
        # Where there is a boot id, there is this, too.
        import fcntl

        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(f"{path} is in use by another node") from None
            folder = StateFolder(path=path, lock=lock)
            mark = path / _BOOT
            if not mark.exists() or mark.read_bytes() != boot:
                folder.clear()
                mark.write_bytes(boot)
        except BaseException:
            os.close(lock)
            raise
        return folder


def state_folders_of(config: Config, environ: Mapping[str, str]) -> StateFolders:
    """Return where the node of a configuration keeps its state."""
    if config.state is None:
        return StateFolders(base=None, name="")
    base = Path(config.state) if config.state else _usual_base(environ)
    return StateFolders(base=base, name=_name_of(config), is_chosen=bool(config.state))


def _usual_base(environ: Mapping[str, str]) -> Path:
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if (home := environ.get("XDG_STATE_HOME")) and Path(home).is_absolute():
        return Path(home, "trio-vmess")
    return Path(os.path.expanduser("~"), ".local", "state", "trio-vmess")


def _name_of(config: Config) -> str:
    if config.file:
        path = Path(config.file).resolve()
        return _named(path.stem, str(path))
    places: list[str] = []
    for inbound in config.inbounds:
        if isinstance(inbound.protocol, VMessInboundSettings):
            listen, port = inbound.listen, inbound.port
            if isinstance(listen, UnixSocket):
                places.append(f"{inbound.tag} {listen.path}")
            elif port.first == 0:
                return ""
            else:
                places.append(f"{inbound.tag} {listen} {port.first} {port.last}")
    return _named("node", "\n".join(sorted(places)))


def _named(word: str, text: str) -> str:
    # Two nodes of one name by chance cannot run at once, and this is all that happens.
    return f"{word}-{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"
