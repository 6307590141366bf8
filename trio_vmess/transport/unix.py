"""Unix sockets: what their names mean to the system, and dialling them."""

import errno
import os
import socket
import sys
from typing import Final

import trio

from trio_vmess.errors import DialError, DialFailure
from trio_vmess.transport.dial import DIAL_TIMEOUT, dial_error
from trio_vmess.transport.tcp import SocketTransport

_ADDRESS_SIZE: Final = 108
"""Bytes of a Unix socket's address on Linux: unix(7)."""

_RETRY_DELAY: Final = 0.05
"""Seconds until a listener with a full queue is asked again: there is no event to wait for."""

_ADVICE: Final = {
    errno.ENOENT: "there is no such socket; does the server run, and is this its path?",
    errno.ECONNREFUSED: "nobody listens there; does the server run?",
    errno.EACCES: (
        "permission denied; the user of this node needs the right to write to the socket, and to "
        "enter its folder"
    ),
    errno.EPROTOTYPE: "it is a socket for datagrams, not for connections",
    errno.ENAMETOOLONG: "the name is too long for a Unix socket",
}


def unix_address(name: str) -> str | bytes:
    """Return the address of a Unix socket as the `socket` module takes it.

    Args:
        name: a path; `@name` in Linux's abstract namespace; or `@@name`, the same filled up with
            NUL bytes, as haproxy and V2Ray's `padding` have it.

    Raises:
        OSError: EAFNOSUPPORT if this system has no such sockets.
    """
    is_abstract = name.startswith("@")
    if not hasattr(socket, "AF_UNIX") or (is_abstract and sys.platform != "linux"):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    if name.startswith("@@"):
        return (b"\0" + os.fsencode(name[2:])).ljust(_ADDRESS_SIZE, b"\0")
    return b"\0" + os.fsencode(name[1:]) if is_abstract else name


def abstract_name(address: bytes) -> str:
    """Return the name of an abstract address, as `unix_address` reads it."""
    bare = address[1:].rstrip(b"\0")
    return ("@" if len(bare) == len(address) - 1 else "@@") + os.fsdecode(bare)


async def dial_unix(name: str) -> SocketTransport:
    """Connect to a Unix socket.

    Args:
        name: as for `unix_address`.

    Raises:
        DialError: it cannot be reached.
        trio.Cancelled: from outside; nothing stays open.
    """
    try:
        address = unix_address(name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as exc:
        raise dial_error(exc, name) from None
    try:
        sock.setblocking(False)
        with trio.move_on_after(DIAL_TIMEOUT):
            await _connect(sock, address)
            return SocketTransport(sock)
        message = f"{name}: the server does not take the connections that wait already"
        raise DialError(message, reason=DialFailure.TIMED_OUT)
    except OSError as exc:
        sock.close()
        raise _explain(exc, name) from None
    except BaseException:
        sock.close()
        raise


async def _connect(sock: socket.socket, address: str | bytes) -> None:
    while (code := sock.connect_ex(address)) == errno.EAGAIN:  # noqa: ASYNC110 (see the constant)
        await trio.sleep(_RETRY_DELAY)
    if code:
        raise OSError(code, os.strerror(code))


def _explain(exc: OSError, name: str) -> DialError:
    # Python itself checks the length of the name, and raises an error without errno.
    code = exc.errno or errno.ENAMETOOLONG
    reason = dial_error(OSError(code, ""), name).reason
    if code == errno.ENOENT:
        reason = DialFailure.REFUSED
    return DialError(f"{name}: {_ADVICE.get(code) or exc.strerror or exc}", reason=reason)
