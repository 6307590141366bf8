"""Unix sockets that listen: their files, who may connect, and errors for an operator."""

import contextlib
import errno
import os
import socket
import stat
import sys
from typing import Final

import attrs

from trio_vmess.transport import unix_address

_ADVICE: Final = {
    errno.EACCES: "permission denied; choose a folder that the node may write to",
    errno.EADDRINUSE: "another program listens there; stop it, or choose another path",
    errno.ENOENT: "the folder does not exist; create it, or choose another path",
    errno.ENOTDIR: "a part of the path is not a folder; choose another path",
    errno.EEXIST: "a file that is not a socket exists there; remove it, or choose another path",
    errno.ENAMETOOLONG: "the path is too long for a Unix socket; choose a shorter one",
    errno.EAFNOSUPPORT: "this system does not support such sockets; listen on 127.0.0.1 instead",
}


_ID_END: Final = (1 << 32) - 1
"""The first number that is nobody's: chown(2) takes it for -1."""


class _OwnerError(OSError):
    """A socket cannot be given to somebody; the text says all of it."""


@attrs.frozen(kw_only=True)
class Permissions:
    """Who may connect to a Unix socket that has a path.

    Attributes:
        mode: the permissions of the file, such as 0o660; None leaves them to the umask.
        owner: the user whom the file is to belong to, by name or number; empty for the node's own.
        group: likewise.
    """

    mode: int | None = None
    owner: str = ""
    group: str = ""


OWN_PERMISSIONS: Final = Permissions()
"""Those of any file that the node creates."""


def listening_unix_socket(name: str, permissions: Permissions, *, backlog: int) -> socket.socket:
    """Return a non-blocking Unix socket that listens.

    Its file is never more open than `permissions` say: it gets its mode as it is created, and its
    owner before anybody can connect.

    Args:
        name: as for `transport.unix_address`; a file there is replaced if no process listens on it.
        permissions: of the file; an abstract name has none.
        backlog: as for `socket.listen`.

    Raises:
        OSError: it cannot be done; for `explain_unix`.
    """
    address = unix_address(name)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if isinstance(address, bytes):
            sock.bind(address)
            sock.listen(backlog)
            return sock
        _bind(sock, address, permissions.mode)
        try:
            _give_away(address, permissions)
            sock.listen(backlog)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(address)
            raise
    except BaseException:
        sock.close()
        raise
    return sock


def explain_unix(exc: OSError) -> tuple[int | None, str]:
    """Return the code of an error of `listening_unix_socket`, and why it is and what to do."""
    if isinstance(exc, _OwnerError):
        return exc.errno, str(exc.strerror)
    # Python itself checks the length of the path, and raises an error without errno.
    code = exc.errno or errno.ENAMETOOLONG
    return code, _ADVICE.get(code) or exc.strerror or str(exc)


def identify_file(path: str) -> tuple[int, int] | None:
    """Return the identity of a file, which a replacement does not have; None if it is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _bind(sock: socket.socket, path: str, mode: int | None) -> None:
    try:
        _bind_with_mode(sock, path, mode)
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            raise
        _remove_stale_socket(path)
        _bind_with_mode(sock, path, mode)


def _bind_with_mode(sock: socket.socket, path: str, mode: int | None) -> None:
    if mode is None:
        sock.bind(path)
        return
    # The umask is the only way that needs no second look at the path, where somebody could have put
    # another file meanwhile. It is the whole process's, for the length of one system call.
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def _remove_stale_socket(path: str) -> None:
    """Remove the file of a Unix socket that no process listens on.

    Raises:
        OSError: EADDRINUSE if a process does; EEXIST if the file is not a socket.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # Non-blocking, because connecting to a listener with a full backlog would block; the
            # error it gives instead shows as well that a process listens.
            probe.setblocking(False)
            code = probe.connect_ex(path)
        if code != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        os.unlink(path)
    except FileNotFoundError:
        # Its owner has just removed it.
        return


def _is_number(name: str) -> bool:
    return name.isdecimal() and int(name) < _ID_END


if sys.platform == "win32":

    def _give_away(path: str, permissions: Permissions) -> None:
        """Do nothing: there are no Unix sockets here."""

else:
    import grp
    import pwd

    def _give_away(path: str, permissions: Permissions) -> None:
        """Give a file to its owner and group.

        Raises:
            OSError: there are no such ones, or the node may not do it.
        """
        if not (permissions.owner or permissions.group):
            return
        user, group = _find_user(permissions.owner), _find_group(permissions.group)
        try:
            os.chown(path, user, group, follow_symlinks=False)
        except OSError as exc:
            whom = " and ".join(
                f"the {kind} {name!r}"
                for kind, name in (("user", permissions.owner), ("group", permissions.group))
                if name
            )
            advice = ""
            if exc.errno == errno.EPERM:
                advice = (
                    "; run the node as root (on Linux: with CAP_CHOWN), or name no owner, and a "
                    "group that the node's user belongs to"
                )
            message = f"the socket cannot be given to {whom}: {exc.strerror}{advice}"
            raise _OwnerError(exc.errno, message) from exc

    def _find_user(name: str) -> int:
        if not name:
            return -1  # chown(2): as it is
        try:
            return int(name) if _is_number(name) else pwd.getpwnam(name).pw_uid
        except KeyError:
            message = f"this machine has no user {name!r}; create it, or choose another owner"
            raise _OwnerError(errno.EINVAL, message) from None

    def _find_group(name: str) -> int:
        if not name:
            return -1
        try:
            return int(name) if _is_number(name) else grp.getgrnam(name).gr_gid
        except KeyError:
            message = f"this machine has no group {name!r}; create it, or choose another one"
            raise _OwnerError(errno.EINVAL, message) from None
