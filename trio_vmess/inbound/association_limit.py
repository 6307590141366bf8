"""How many UDP associations there may be at a time: each holds a connection and a UDP port."""

from collections import Counter
from typing import Final

ASSOCIATIONS_MAX: Final = 4096
"""Associations of one inbound."""

ASSOCIATIONS_OF_CLIENT_MAX: Final = 1024
"""Associations of one user; of one address, where nobody has to say who they are.

A program that turns a network interface into SOCKS has one for each of its UDP sessions.
"""


class AssociationLimit:
    """The associations of one inbound.

    Args:
        total: how many there may be.
        per_client: how many one client may have.
    """

    def __init__(
        self, *, total: int = ASSOCIATIONS_MAX, per_client: int = ASSOCIATIONS_OF_CLIENT_MAX
    ) -> None:
        self._total = total
        self._per_client = per_client
        self._counts = Counter[str]()
        self._count = 0

    def enter(self, client: str) -> str:
        """Count one more association, to be ended by `leave`.

        Returns:
            Empty; or why there may not be another one, which is not counted then.
        """
        if self._count >= self._total:
            return f"there are {self._count} UDP associations already"
        # Asking a Counter for what it does not have adds nothing to it.
        if self._counts[client] >= self._per_client:
            return f"the client has {self._per_client} UDP associations already"
        self._counts[client] += 1
        self._count += 1
        return ""

    def leave(self, client: str) -> None:
        """Count one association less."""
        self._count -= 1
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
