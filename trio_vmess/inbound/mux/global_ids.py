"""Associations that outlive their sessions: XUDP's global ids.

A program's socket keeps its global id when its client has to open another carrier. Then it keeps
its address towards its peers, too. The id is looked up for its own user alone: whoever learns
somebody else's gets nothing by it. All ports of an inbound share its ids: the next carrier may come
by another one.
"""

from collections import OrderedDict
from typing import Final

from trio_vmess.core import User
from trio_vmess.inbound.mux.association import ClientAssociation

COUNT_MAX_OF_USER: Final = 256
COUNT_MAX: Final = 4096


Owner = str | bytes


def _owner_of(user: User) -> Owner:
    """Return what tells a user from the others of an inbound, on all of its ports.

    A client that was redirected to a dynamic port has another account, with another id, on each of
    them; its email is the same, and an inbound has no two users of one email.
    """
    return user.email.casefold() or user.id


class GlobalIds:
    """The associations of one inbound that have a global id, oldest first.

    At the bounds, the oldest one without a session is ended to make room, of the same user first;
    where all have a session, the new one is not kept.
    """

    def __init__(self) -> None:
        self._associations: OrderedDict[tuple[Owner, bytes], ClientAssociation] = OrderedDict()
        self._counts: dict[Owner, int] = {}

    def __len__(self) -> int:
        return len(self._associations)

    def find(self, user: User, global_id: bytes) -> ClientAssociation | None:
        """Return a user's association, if it is running."""
        association = self._associations.get((_owner_of(user), global_id))
        return None if association is None or association.is_closed else association

    def keeps(self, user: User, global_id: bytes, association: ClientAssociation) -> bool:
        """Tell whether an association is the one of this id."""
        return self._associations.get((_owner_of(user), global_id)) is association

    def add(self, user: User, global_id: bytes, association: ClientAssociation) -> bool:
        """Enter an association; return False if there is no room for it."""
        self.remove(user, global_id)
        owner = _owner_of(user)
        if self._counts.get(owner, 0) >= COUNT_MAX_OF_USER and not self._make_room(owner):
            return False
        if len(self._associations) >= COUNT_MAX and not self._make_room(None):
            return False
        self._associations[owner, global_id] = association
        self._counts[owner] = self._counts.get(owner, 0) + 1
        return True

    def remove(
        self, user: User, global_id: bytes, association: ClientAssociation | None = None
    ) -> None:
        """Forget an id; if an association is given, only if it is that one's."""
        key = _owner_of(user), global_id
        if key not in self._associations or (
            association is not None and self._associations[key] is not association
        ):
            return
        self._forget(key)

    def _forget(self, key: tuple[Owner, bytes]) -> None:
        del self._associations[key]
        owner, _ = key
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]

    def _make_room(self, owner: Owner | None) -> bool:
        for key, association in self._associations.items():
            if owner in (None, key[0]) and not association.is_attached:
                association.close()
                self._forget(key)
                return True
        return False
