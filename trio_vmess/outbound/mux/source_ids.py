"""The global ids of the sockets whose datagrams an outbound sends by XUDP.

A socket of a program keeps its id for as long as its association lives, so that a server can go on
with the same socket when another carrier has to be opened. What the id is computed from never
leaves this process: servers learn no addresses, and nobody can compute an id of somebody else.
"""

import itertools
from typing import Final
from weakref import WeakKeyDictionary

from trio_vmess.core import Association, Entropy, Flow
from trio_vmess.core.mux import GLOBAL_ID_SIZE, make_global_id

NO_ID: Final = bytes(GLOBAL_ID_SIZE)
"""Says that a session does not outlive its carrier, and still that it is XUDP."""

_SECRET_SIZE: Final = 32


class SourceIds:
    """The ids of one outbound: those of two outbounds must not meet at a server.

    Args:
        entropy: source of the secret.
    """

    def __init__(self, entropy: Entropy) -> None:
        self._secret = entropy.token_bytes(_SECRET_SIZE)
        # The sources of associations are no names for them: those of a chained node's clients share
        # the source of their carrier, and a SOCKS client may come back with a port that was used.
        self._numbers: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        self._next_number = itertools.count()

    def find(self, flow: Flow, family: int) -> bytes:
        """Return the id for a flow's socket; `NO_ID` if nothing tells it from others.

        Args:
            flow: one of those that use the socket.
            family: of its peers; each has a session, and so an id, of its own.
        """
        association = flow.association
        if association is not None:
            number = self._numbers.get(association)
            if number is None:
                number = self._numbers[association] = next(self._next_number)
            return self._make(family, number)
        # A client's socket whose datagrams all go to one destination, as with dokodemo-door. What
        # comes by a carrier has the carrier's source.
        if flow.carrier or not flow.source:
            return NO_ID
        return self._make(
            family, flow.inbound_tag, flow.user.id, flow.source, str(flow.destination)
        )

    def _make(self, *name: object) -> bytes:
        return make_global_id(self._secret, repr(name))
