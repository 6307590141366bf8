"""Options of sockets, and errors that name the one that could not be set."""

import errno
import socket
from collections.abc import Iterable
from typing import Final

import attrs

_ADVICE: Final = {
    errno.EPERM: "the node lacks the right to set it (on Linux: CAP_NET_ADMIN, or root)",
    errno.ENODEV: "this machine has no network interface of that name",
}


@attrs.frozen
class SocketOption:
    """An option, and the value that it is to have.

    Attributes:
        name: what the configuration calls it.
        level: as for `socket.setsockopt`, like the other two.
        number: which one.
        value: an int, or its bytes in memory.
    """

    name: str
    level: int
    number: int
    value: int | bytes


def set_options(sock: socket.socket, options: Iterable[SocketOption]) -> None:
    """Set options of a socket that is neither bound nor connected yet.

    Raises:
        OSError: the system refuses one; the text names it.
    """
    for option in options:
        try:
            sock.setsockopt(option.level, option.number, option.value)
        except OSError as exc:
            why = _ADVICE.get(exc.errno or 0) or exc.strerror
            message = f"the socket option {option.name!r} cannot be set: {why}"
            raise OSError(exc.errno, message) from exc
