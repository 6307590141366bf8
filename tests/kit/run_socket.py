"""A UDP socket that notes what became of runs of datagrams, and can refuse to send them."""

import errno
import os
import socket
from collections.abc import Callable

Refuse = Callable[[int], int]
"""The number of an error for a run, given the size of its first datagram; 0 to let it go."""


def never(_size: int) -> int:
    """Let all runs go."""
    return 0


class RunSocket(socket.socket):
    """A UDP socket that sends runs, or refuses.

    Args:
        family: of the addresses.
        refuse: asked for each run.
        knows_runs: whether the system does.
    """

    def __init__(
        self,
        family: socket.AddressFamily = socket.AF_INET,
        *,
        refuse: Refuse = never,
        knows_runs: bool = True,
    ) -> None:
        super().__init__(family, socket.SOCK_DGRAM)
        self._refuse = refuse
        self._knows_runs = knows_runs
        self._outcomes: list[str] = []

    def take_outcomes(self) -> list[str]:
        """Return what became of each run since the last call: `sent`, or the name of an error."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def getsockopt(self, level, option, size=0):  # type: ignore[no-untyped-def,override]
        if not self._knows_runs:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        return super().getsockopt(level, option, size)

    def sendmsg(self, buffers, *options):  # type: ignore[no-untyped-def,override]
        try:
            if number := self._refuse(len(buffers[0])):
                raise OSError(number, os.strerror(number))
            size = super().sendmsg(buffers, *options)
        except OSError as exc:
            self._outcomes.append(errno.errorcode[exc.errno or 0])
            raise
        self._outcomes.append("sent")
        return size
