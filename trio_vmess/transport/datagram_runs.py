"""Runs: datagrams of one size that a single system call sends (segmentation offload).

The kernel is given all datagrams of a run in one piece, and their size. It carries them through its
layers as one packet, and cuts that up at the end, or has the network card do so.

Source:
    Linux, include/uapi/linux/udp.h, and udp_send_skb in net/ipv4/udp.c for limits and errors.
"""

import errno
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Final

_UDP_SEGMENT: Final = 103

RUN_COUNT_MIN: Final = 3
"""Datagrams: two cost as much together as one by one."""

RUN_COUNT_MAX: Final = 64
"""Datagrams that every kernel takes; newer ones take more."""

RUN_SIZE_MAX: Final = 65_000
"""Bytes: what an IP packet holds, with room for the headers and their options."""

TOO_LARGE_ERRORS: Final = frozenset({errno.EMSGSIZE, errno.EINVAL})
"""Datagrams of this size do not go in runs, because each needs several packets on its path.

EINVAL says so before Linux 6.14. Smaller datagrams may still go.
"""

NO_RUNS_ERRORS: Final = frozenset({errno.EIO, errno.EOPNOTSUPP})
"""No runs can be sent this way, as with IPsec, and in old kernels by cards without checksums."""


def can_send_runs(sock: socket.socket) -> bool:
    """Tell whether the system knows runs; Linux does from 4.18 on.

    Before that, it sends a run as one large datagram without an error.
    """
    if sys.platform != "linux":
        return False
    try:
        sock.getsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


def find_runs(datagrams: Sequence[bytes], size_max: int) -> Iterator[tuple[int, int]]:
    """Find the runs in a batch; what lies between them is better sent singly.

    The datagrams of a run have the same size, but the last one may be shorter, though not empty.
    There are `RUN_COUNT_MIN` to `RUN_COUNT_MAX` of them, with up to `RUN_SIZE_MAX` bytes.

    Args:
        datagrams: all to one address.
        size_max: of a datagram in a run, in bytes.

    Yields:
        The index of a run's first datagram and that behind its last one.
    """
    begin = end_max = run_size = 0
    for index, size in enumerate(map(len, datagrams)):
        if index < end_max:
            if size == run_size:
                continue
            if 0 < size < run_size and index - begin >= RUN_COUNT_MIN - 1:
                end_max = index + 1  # closed
                continue
        if index - begin >= RUN_COUNT_MIN:
            yield begin, index
        begin, run_size = index, size
        end_max = index
        if 0 < size <= size_max:
            end_max += min(RUN_COUNT_MAX, RUN_SIZE_MAX // size)
    if len(datagrams) - begin >= RUN_COUNT_MIN:
        yield begin, len(datagrams)


def send_run(sock: socket.socket, run: Sequence[bytes], address: tuple[object, ...] | None) -> None:
    """Send all datagrams of a run, or none.

    Args:
        sock: of a system that knows runs.
        run: as `find_runs` finds it.
        address: the recipient; None for a connected socket.

    Raises:
        OSError: nothing was sent; with a number in `TOO_LARGE_ERRORS` or `NO_RUNS_ERRORS`, or any
            other for which a single datagram could not be sent either.
    """
    size = len(run[0]).to_bytes(2, sys.byteorder)
    sock.sendmsg(run, ((socket.IPPROTO_UDP, _UDP_SEGMENT, size),), 0, address)
