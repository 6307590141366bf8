"""Accounts for clients that another inbound has redirected."""

import pytest

from tests.kit.entropy import SeededEntropy
from trio_vmess.core.vmess import Account, UserRegistry
from trio_vmess.inbound.assigned_accounts import AssignedAccounts, DefaultUser


def accounts(*users: Account, default: DefaultUser | None = None) -> AssignedAccounts:
    return AssignedAccounts(
        users=UserRegistry(users), default=default or DefaultUser(), entropy=SeededEntropy(3)
    )


def test_an_unknown_user_gets_an_account_with_the_defaults() -> None:
    assigned = accounts(default=DefaultUser(level=2, alter_id_count=4))
    account = assigned.assign("Ann@Example.COM")
    assert account is not None
    assert (account.email, account.level, account.alter_id_count) == ("ann@example.com", 2, 4)
    assert list(assigned.users) == [account]


def test_the_same_user_gets_the_same_account_again() -> None:
    assigned = accounts()
    assert assigned.assign("ann@example.com") is assigned.assign("ANN@example.com")
    assert len(assigned.users) == 1


def test_a_user_of_the_inbound_keeps_the_account() -> None:
    bob = Account(user_id=b"b" * 16, alter_id_count=1, level=7, email="Bob@example.com")
    nameless = Account(user_id=b"n" * 16)
    assigned = accounts(bob, nameless)
    assert assigned.assign("bob@EXAMPLE.com") is bob
    assert assigned.assign("") is nameless
    assert len(assigned.users) == 2


def test_users_without_email_share_an_account() -> None:
    assigned = accounts()
    shared = assigned.assign("")
    assert shared is not None
    assert assigned.assign("") is shared
    assert assigned.assign("ann@example.com") is not shared
    # A new one is made when the old one was removed.
    assigned.users.remove(shared.user_id)
    fresh = assigned.assign("")
    assert fresh is not None
    assert fresh.user_id != shared.user_id
    assert fresh.user_id in assigned.users


def test_a_full_registry_assigns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    # The next id that the source draws belongs to somebody already.
    assigned = accounts(Account(user_id=SeededEntropy(3).token_bytes(16)))
    assert assigned.assign("ann@example.com") is None
    assert caplog.messages[0].startswith("vmess.account_not_assigned")
