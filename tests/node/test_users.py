"""The users of an inbound, and the registries that follow them."""

import pytest
import trio
from trio.testing import MockClock

from trio_vmess import config
from trio_vmess.core.vmess import Account
from trio_vmess.node.node import Node
from trio_vmess.node.users import UserStore

ANN = Account(user_id=b"a" * 16, email="ann@example.com")
BOB = Account(user_id=b"b" * 16, email="bob@example.com")


def make_store(*accounts: Account) -> UserStore:
    return UserStore(accounts, max_clock_skew=90, legacy_without_alter_ids=False)


def test_every_registry_has_the_users_and_follows_changes() -> None:
    store = make_store(ANN)
    first, second = store.open_registry(), store.open_registry()
    store.add(BOB)
    assert list(store) == list(first) == list(second) == [ANN, BOB]
    store.close_registry(first)
    store.close_registry(first)
    assert store.remove(ANN.user_id) == ANN
    assert list(first) == [ANN, BOB]
    assert list(second) == list(store) == [BOB]
    assert store.registries == (second,)
    assert ANN.user_id not in store
    assert BOB.user_id in store


def test_a_new_registry_knows_who_was_added_before() -> None:
    store = make_store()
    store.add(ANN)
    assert list(store.open_registry()) == [ANN]
    assert len(store) == 1


@pytest.mark.parametrize(
    ("second", "what"),
    [
        (Account(user_id=ANN.user_id, email="other@example.com"), "the same id"),
        (Account(user_id=b"c" * 16, email="ANN@example.com"), "the same email"),
    ],
)
def test_ids_and_emails_are_unique(second: Account, what: str) -> None:
    store = make_store(ANN)
    registry = store.open_registry()
    with pytest.raises(ValueError, match=what):
        store.add(second)
    with pytest.raises(ValueError, match=what):
        make_store(ANN, second)
    assert list(store) == list(registry) == [ANN]


def test_a_user_whom_one_registry_refuses_is_added_to_none() -> None:
    store = make_store()
    first, second = store.open_registry(), store.open_registry()
    second.add(Account(user_id=ANN.user_id))
    with pytest.raises(ValueError, match="the same id"):
        store.add(ANN)
    assert len(store) == len(first) == 0
    store.add(BOB)
    assert BOB.user_id in second


def test_an_added_user_replaces_the_account_that_a_port_assigned() -> None:
    store = make_store()
    port, other = store.open_registry(), store.open_registry()
    port.add(Account(user_id=b"x" * 16, email=ANN.email))
    store.add(ANN)
    assert list(port) == list(other) == [ANN]


def test_an_unknown_user_cannot_be_removed() -> None:
    with pytest.raises(KeyError):
        make_store(ANN).remove(BOB.user_id)


# In a node ----------------------------------------------------------------------------------------


async def test_a_user_added_at_run_time_is_known_to_the_next_dynamic_generation(
    autojump_clock: MockClock,
) -> None:
    # Nobody connects, so nothing of the kernel's can be late when the clock jumps.
    node = Node(
        config.parse_config(
            """
            [[inbounds]]
            tag = "dynamic"
            protocol = "vmess"
            listen = "127.0.0.1"
            port = "20000-60000"
            allocate = { strategy = "random", concurrency = 2, refresh = 1 }

            [[outbounds]]
            protocol = "freedom"
            """,
            format="toml",
        )
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        (store,) = node.users
        assert [list(registry) for registry in store.registries] == [[], []]
        store.add(ANN)
        assert [list(registry) for registry in store.registries] == [[ANN], [ANN]]
        first = store.registries
        await trio.sleep(61)
        assert [list(registry) for registry in store.registries] == [[ANN]] * 4
        await trio.sleep(60)
        # By now the first generation is closed, and another one has opened.
        assert not set(first) & set(store.registries)
        assert [list(registry) for registry in store.registries] == [[ANN]] * 4
        nursery.cancel_scope.cancel()
    assert store.registries == ()
