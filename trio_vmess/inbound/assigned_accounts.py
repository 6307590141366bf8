"""Accounts for clients that another inbound has redirected here.

Source:
    v2ray-core, proxy/vmess/inbound/inbound.go, userByEmail.Get.
"""

import logging
from typing import Final

import attrs

from trio_vmess.core import Entropy
from trio_vmess.core.vmess import Account, UserRegistry

log: Final = logging.getLogger("trio_vmess.inbound.vmess")

_USER_ID_SIZE: Final = 16


@attrs.frozen(kw_only=True)
class DefaultUser:
    """What accounts get that are made here.

    Attributes:
        level: the policy level.
        alter_id_count: how many alter ids.
    """

    level: int = 0
    alter_id_count: int = 0


@attrs.define(eq=False, kw_only=True)
class AssignedAccounts:
    """Finds the account of a redirected client, or makes one.

    Attributes:
        users: who is known on this port, and where new accounts go.
        default: what these get.
        entropy: where their ids come from.
    """

    users: UserRegistry
    default: DefaultUser
    entropy: Entropy
    _nameless: Account | None = attrs.field(default=None, init=False)

    def assign(self, email: str) -> Account | None:
        """Return the account of the user with this email.

        Args:
            email: in whatever case. All users without one share an account: the first that the
                registry has, or one that is made for them.

        Returns:
            None if the registry takes no more.
        """
        known = self.users.find_by_email(email) if email else self._find_nameless()
        if known is not None:
            return known
        account = Account(
            user_id=self.entropy.token_bytes(_USER_ID_SIZE),
            alter_id_count=self.default.alter_id_count,
            level=self.default.level,
            email=email.lower(),
        )
        try:
            self.users.add(account)
        except ValueError as exc:
            log.warning(
                "detour.full reason=%r hint=%r", str(exc), "lower the alterId of the default user"
            )
            return None
        if not email:
            self._nameless = account
        return account

    def _find_nameless(self) -> Account | None:
        if self._nameless is None or self._nameless.user_id not in self.users:
            self._nameless = next((account for account in self.users if not account.email), None)
        return self._nameless
