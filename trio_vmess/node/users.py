"""The users of a VMess inbound, independent of its ports.

Each port of a dynamic generation has a registry of its own, because clients that another inbound
redirects to it have accounts on that port only. Every registry also contains the inbound's users,
and follows the changes that are made to them while the node runs.
"""

from collections.abc import Iterable, Iterator, Sequence

from trio_vmess.core.vmess import Account, UserRegistry


class UserStore:
    """The users of one inbound.

    Args:
        accounts: the initial users.
        tag: the inbound's tag; may be empty.
        max_clock_skew: as for `UserRegistry`.
        legacy_without_alter_ids: as for `UserRegistry`.

    Attributes:
        tag: the inbound's tag.

    Raises:
        ValueError: as `add`.
    """

    def __init__(
        self,
        accounts: Iterable[Account] = (),
        *,
        tag: str = "",
        max_clock_skew: float,
        legacy_without_alter_ids: bool,
    ) -> None:
        self.tag = tag
        self._max_clock_skew = max_clock_skew
        self._legacy_without_alter_ids = legacy_without_alter_ids
        self._accounts: dict[bytes, Account] = {}
        self._registries: list[UserRegistry] = []
        for account in accounts:
            self.add(account)

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        """Iterate over the users in the order in which they were added."""
        return iter(self._accounts.values())

    def __contains__(self, user_id: bytes) -> bool:
        return user_id in self._accounts

    @property
    def registries(self) -> Sequence[UserRegistry]:
        """The registries of the ports that are open now."""
        return tuple(self._registries)

    def add(self, account: Account) -> None:
        """Accept a user from now on, on every open port and in all later generations.

        Raises:
            ValueError: another user has the same id or (ignoring case) the same email, or there
                are too many alter ids. Nothing has changed then.
        """
        if account.user_id in self._accounts:
            raise ValueError(f"user {account.name}: another user has the same id")
        email = account.email.casefold()
        if email and any(email == each.email.casefold() for each in self):
            raise ValueError(f"user {account.name}: another user has the same email")
        done: list[UserRegistry] = []
        try:
            for registry in self._registries:
                _replace_assigned(registry, account)
                registry.add(account)
                done.append(registry)
        except ValueError:
            for registry in done:
                registry.remove(account.user_id)
            raise
        self._accounts[account.user_id] = account

    def remove(self, user_id: bytes) -> Account:
        """Refuse new requests of a user; open connections continue until `Connection.cancel`.

        Raises:
            KeyError: no user has this id.
        """
        account = self._accounts.pop(user_id)
        for registry in self._registries:
            registry.remove(user_id)
        return account

    def open_registry(self) -> UserRegistry:
        """Return a new registry with all users, which follows changes until `close_registry`.

        Raises:
            ValueError: there are too many alter ids for one registry.
        """
        registry = UserRegistry(
            self,
            max_clock_skew=self._max_clock_skew,
            legacy_without_alter_ids=self._legacy_without_alter_ids,
        )
        self._registries.append(registry)
        return registry

    def close_registry(self, registry: UserRegistry) -> None:
        """Stop updating a registry; does nothing the second time."""
        if registry in self._registries:
            self._registries.remove(registry)


def _replace_assigned(registry: UserRegistry, account: Account) -> None:
    """Remove the account that a port has assigned to a redirected client with the same email.

    Emails are unique in a registry, and the user's own account takes precedence.
    """
    assigned = registry.find_by_email(account.email) if account.email else None
    if assigned is not None:
        registry.remove(assigned.user_id)
