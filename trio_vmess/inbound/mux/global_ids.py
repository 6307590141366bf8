"""Associations that outlive their sessions: XUDP's global ids.

A program's socket keeps its global id when its client has to open another carrier. Then it keeps
its address towards its peers, too. The id is looked up for its own user alone: whoever learns
somebody else's gets nothing by it.
"""

from collections import OrderedDict
from typing import Final

from trio_vmess.core import User
from trio_vmess.inbound.mux.association import ClientAssociation

COUNT_MAX_OF_USER: Final = 256
COUNT_MAX: Final = 4096


class GlobalIds:
    """The associations that have a global id, oldest first.

    At the bounds, the oldest one without a session is ended to make room, of the same user first;
    where all have a session, the new one is not kept.
    """

    def __init__(self) -> None:
        self._associations: OrderedDict[tuple[User, bytes], ClientAssociation] = OrderedDict()
        self._counts: dict[User, int] = {}

    def __len__(self) -> int:
        return len(self._associations)

    def find(self, user: User, global_id: bytes) -> ClientAssociation | None:
        """Return a user's association, if it is running."""
        association = self._associations.get((user, global_id))
        return None if association is None or association.is_closed else association

    def keeps(self, user: User, global_id: bytes, association: ClientAssociation) -> bool:
        """Tell whether an association is the one of this id."""
        return self._associations.get((user, global_id)) is association

    def add(self, user: User, global_id: bytes, association: ClientAssociation) -> bool:
        """Enter an association; return False if there is no room for it."""
        self.remove(user, global_id)
        count = self._counts.get(user, 0)
        if count >= COUNT_MAX_OF_USER and not self._make_room(user):
            return False
        if len(self._associations) >= COUNT_MAX and not self._make_room(None):
            return False
        self._associations[user, global_id] = association
        self._counts[user] = self._counts.get(user, 0) + 1
        return True

    def remove(
        self, user: User, global_id: bytes, association: ClientAssociation | None = None
    ) -> None:
        """Forget an id; if an association is given, only if it is that one's."""
        key = user, global_id
        if key not in self._associations or (
            association is not None and self._associations[key] is not association
        ):
            return
        del self._associations[key]
        self._counts[user] -= 1
        if not self._counts[user]:
            del self._counts[user]

    def _make_room(self, user: User | None) -> bool:
        for (owner, global_id), association in self._associations.items():
            if user in (None, owner) and not association.is_attached:
                association.close()
                self.remove(owner, global_id)
                return True
        return False
