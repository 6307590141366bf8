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
    """The settings of accounts that are created for redirected clients.

    Attributes:
        level: the policy level.
        alter_id_count: the number of alter ids.
    """

    level: int = 0
    alter_id_count: int = 0


@attrs.define(eq=False, kw_only=True)
class AssignedAccounts:
    """Finds the account of a redirected client, or creates one.

    Attributes:
        users: the users of this inbound; new accounts are added to it.
        default: the settings of new accounts.
        entropy: source of their user ids.
    """

    users: UserRegistry
    default: DefaultUser
    entropy: Entropy
    _without_email: Account | None = attrs.field(default=None, init=False)

    def assign(self, email: str) -> Account | None:
        """Return the account of the user with this email.

        Args:
            email: case-insensitive. All users without an email share one account: the first such
                account of the registry, or one that is created for them.

        Returns:
            None if the registry cannot take another account.
        """
        known = self.users.find_by_email(email) if email else self._find_without_email()
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
                "vmess.account_not_assigned user=%s reason=%r hint=%r",
                email or "-",
                str(exc),
                "lower the alterId of the default user",
            )
            return None
        if not email:
            self._without_email = account
        return account

    def _find_without_email(self) -> Account | None:
        if self._without_email is None or self._without_email.user_id not in self.users:
            self._without_email = next(
                (account for account in self.users if not account.email), None
            )
        return self._without_email
