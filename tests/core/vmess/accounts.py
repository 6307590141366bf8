"""Accounts of the tests that tell why a request let nobody in, and AEAD auth ids for them."""

import hashlib
from typing import Final

from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import derive_auth_id_key, seal_auth_id

NOW: Final = 1_700_000_000
HOUR: Final = 3600


def make_account(number: int, alter_id_count: int, email: str = "") -> Account:
    user_id = hashlib.md5(b"user %d" % number).digest()
    return Account(user_id=user_id, alter_id_count=alter_id_count, email=email)


LOVE: Final = make_account(1, 0, "love@example.com")
OLD: Final = make_account(2, 4, "old@example.com")
NAMELESS: Final = make_account(3, 2)


def make_auth_id(account: Account, timestamp: int) -> bytes:
    return seal_auth_id(derive_auth_id_key(account.cmd_key), timestamp, b"1234")
