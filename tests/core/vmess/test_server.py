"""Whom the server refuses, why, and what it remembers of it."""

import pytest

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, USER_ID, ConnectionPair, account, events_of, request
from trio_vmess.core import NEED_DATA
from trio_vmess.core.vmess import (
    DOCUMENT,
    Account,
    ClientConnection,
    Phase,
    ReplayCache,
    Request,
    Security,
    ServerConnection,
    UserRegistry,
)
from trio_vmess.errors import AuthenticationError, Refusal, RemoteProtocolError

FORMS = pytest.mark.parametrize("alter_ids", [0, 4], ids=["aead", "legacy"])


def refusal(server: ServerConnection, wire: bytes, *, now: int = NOW) -> AuthenticationError:
    server.receive_data(wire, now=now)
    with pytest.raises(AuthenticationError) as caught:
        server.next_event()
    assert server.receiving is Phase.FAILED
    # It stays refused, whatever comes.
    server.receive_data(b"more", now=now)
    with pytest.raises(AuthenticationError):
        server.next_event()
    return caught.value


@FORMS
def test_a_replay_is_refused(alter_ids: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    wire = pair.client.send(request(pair.account))
    pair.server.receive_data(wire, now=NOW)
    assert isinstance(pair.server.next_event(), Request)
    error = refusal(pair.another_server(), wire, now=NOW + 60)
    assert error.reason is Refusal.REPLAY
    assert error.user == "love@example.com"


def test_the_same_session_under_another_header_is_a_replay() -> None:
    pair = ConnectionPair(seed=1)
    pair.up(request(pair.account))

    class SameKeys(SeededEntropy):
        def __init__(self) -> None:
            super().__init__(2)
            self.first = SeededEntropy(1).token_bytes(61)[:34]

        def token_bytes(self, nbytes: int, /) -> bytes:
            drawn = super().token_bytes(nbytes)
            return self.first + drawn[34:] if nbytes == 61 else drawn

    wire = ClientConnection(entropy=SameKeys()).send(request(pair.account))
    assert refusal(pair.another_server(), wire).reason is Refusal.REPLAY


# Large tables -------------------------------------------------------------------------------------


def crowded_pair() -> ConnectionPair:
    """Return a pair whose server has too many legacy ids for a search to build their table."""
    return ConnectionPair(alter_id_count=64)


def test_a_legacy_request_waits_until_its_second_is_ready() -> None:
    pair = crowded_pair()
    wire = pair.client.send(request(pair.account))
    pair.server.receive_data(wire[:15], now=NOW)
    assert pair.server.next_event() is NEED_DATA
    assert not pair.server.awaits_table
    pair.server.receive_data(wire[15:], now=NOW)
    for _ in range(3):
        assert pair.server.next_event() is NEED_DATA
        assert pair.server.awaits_table
    assert pair.server.retry(now=NOW + 1) is NEED_DATA
    assert pair.users.prepare(NOW + 2, budget=10**6)
    event = pair.server.retry(now=NOW + 2)
    assert isinstance(event, Request)
    assert event.account == pair.account
    assert not pair.server.awaits_table


def test_a_stranger_is_refused_when_the_table_is_ready() -> None:
    pair = crowded_pair()
    pair.server.receive_data(bytes(100), now=NOW)
    assert pair.server.next_event() is NEED_DATA
    assert pair.users.prepare(NOW, budget=10**6)
    with pytest.raises(AuthenticationError) as caught:
        pair.server.retry(now=NOW)
    assert caught.value.reason is Refusal.UNKNOWN_USER


def test_the_time_of_the_answer_decides_and_not_that_of_the_bytes() -> None:
    pair = crowded_pair()
    wire = pair.client.send(request(pair.account))
    pair.server.receive_data(wire, now=NOW)
    assert pair.server.next_event() is NEED_DATA
    late = NOW + pair.users.window + 31
    assert pair.users.prepare(late, budget=10**6)
    with pytest.raises(AuthenticationError):
        pair.server.retry(now=late)


def test_who_hangs_up_while_the_table_is_built_is_refused_at_once() -> None:
    pair = crowded_pair()
    pair.server.receive_data(pair.client.send(request(pair.account)), now=NOW)
    assert pair.server.next_event() is NEED_DATA
    pair.server.receive_eof()
    with pytest.raises(AuthenticationError) as caught:
        pair.server.next_event()
    assert caught.value.reason is Refusal.TRUNCATED


def test_an_aead_request_does_not_wait_for_the_table() -> None:
    pair = crowded_pair()
    wire = ClientConnection(entropy=SeededEntropy()).send(request(account()))
    pair.server.receive_data(wire, now=NOW)
    assert isinstance(pair.server.next_event(), Request)


@FORMS
def test_a_header_that_was_never_finished_is_not_remembered(alter_ids: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    wire = pair.client.send(request(pair.account))
    pair.server.receive_data(wire[:40], now=NOW)
    assert pair.server.next_event() is NEED_DATA
    other = pair.another_server()
    other.receive_data(wire, now=NOW)
    assert isinstance(other.next_event(), Request)


@pytest.mark.parametrize("spoil", ["checksum", "eof"])
def test_a_broken_legacy_header_taints_its_hash(spoil: str) -> None:
    pair = ConnectionPair(alter_id_count=4)
    wire = pair.client.send(request(pair.account))
    if spoil == "checksum":
        damaged = bytearray(wire)
        damaged[-1] ^= 1
        assert refusal(pair.server, bytes(damaged)).reason is Refusal.BAD_HEADER
    else:
        pair.server.receive_data(wire[:-1], now=NOW)
        pair.server.receive_eof()
        with pytest.raises(AuthenticationError, match="ended after") as caught:
            pair.server.next_event()
        assert caught.value.reason is Refusal.TRUNCATED
    assert refusal(pair.another_server(), wire).reason is Refusal.TAINTED


@FORMS
def test_a_short_probe_taints_no_hash(alter_ids: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    wire = pair.client.send(request(pair.account))
    for size in (0, 5, 16, 30):
        probe = pair.another_server()
        if size:
            probe.receive_data(wire[:size], now=NOW)
        probe.receive_eof()
        with pytest.raises(AuthenticationError, match="ended after"):
            probe.next_event()
    pair.server.receive_data(wire, now=NOW)
    assert isinstance(pair.server.next_event(), Request)


@FORMS
def test_damage_anywhere_in_a_header_is_refused(alter_ids: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    wire = pair.client.send(request(pair.account))
    for position in range(len(wire)):
        pair.replay = ReplayCache(window=pair.users.window)
        damaged = bytearray(wire)
        damaged[position] ^= 0x10
        server = pair.another_server()
        server.receive_data(bytes(damaged), now=NOW)
        server.receive_eof()
        with pytest.raises(AuthenticationError):
            server.next_event()


@FORMS
@pytest.mark.parametrize("offset", [-120, -119, 0, 119, 120])
def test_clocks_may_differ_by_the_window(alter_ids: int, offset: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    pair.client = ClientConnection(entropy=SeededEntropy(), jitter=0)
    (event,) = pair.up(request(pair.account), now=NOW + offset)
    assert isinstance(event, Request)


def test_a_wrong_clock_is_named() -> None:
    pair = ConnectionPair()
    wire = pair.client.send(request(pair.account, timestamp=NOW + 3600))
    error = refusal(pair.server, wire)
    assert error.reason is Refusal.CLOCK_SKEW
    assert error.clock_offset == 3600
    assert error.user == "love@example.com"
    assert "time zone" in str(error)


@pytest.mark.parametrize("offset", [-121, 121])
def test_a_legacy_header_outside_the_window_is_unknown(offset: int) -> None:
    pair = ConnectionPair(alter_id_count=4)
    pair.client = ClientConnection(entropy=SeededEntropy(), jitter=0)
    wire = pair.client.send(request(pair.account))
    assert refusal(pair.server, wire, now=NOW + offset).reason is Refusal.UNKNOWN_USER


def test_legacy_is_for_users_with_alter_ids() -> None:
    users = UserRegistry([account(0)])
    server = ServerConnection(users, ReplayCache(window=users.window), entropy=SeededEntropy())
    wire = ClientConnection(entropy=SeededEntropy()).send(request(account(4)))
    assert refusal(server, wire).reason is Refusal.UNKNOWN_USER


def test_the_main_id_works_in_a_legacy_header_where_there_are_alter_ids() -> None:
    pair = ConnectionPair(alter_id_count=4)
    pair.client = ClientConnection(entropy=SeededEntropy(), dialect=DOCUMENT)
    # Same layout for this request: only the security code differs, and 3 is legal in both.
    wire = pair.client.send(request(account(0), security=Security.CHACHA20_POLY1305, options=0x05))
    pair.server.receive_data(wire, now=NOW)
    event = pair.server.next_event()
    assert isinstance(event, Request)
    assert event.security is Security.AES_128_GCM


def test_aead_is_tried_first_and_open_to_users_with_alter_ids() -> None:
    pair = ConnectionPair(alter_id_count=4)
    wire = ClientConnection(entropy=SeededEntropy()).send(request(account(0)))
    pair.server.receive_data(wire, now=NOW)
    assert isinstance(pair.server.next_event(), Request)


def test_the_document_dialect_has_no_aead_header() -> None:
    pair = ConnectionPair(dialect=DOCUMENT)
    wire = ClientConnection(entropy=SeededEntropy()).send(request(account(0)))
    error = refusal(pair.server, wire)
    assert error.reason is Refusal.WRONG_FORM
    assert "AEAD" in str(error)


@FORMS
def test_a_removed_user_is_refused_at_once(alter_ids: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    first, second = (
        ClientConnection(entropy=SeededEntropy(seed)).send(request(pair.account)) for seed in (1, 2)
    )
    pair.server.receive_data(first, now=NOW)
    assert isinstance(pair.server.next_event(), Request)
    pair.users.remove(USER_ID)
    assert refusal(pair.another_server(), second).reason is Refusal.UNKNOWN_USER
    pair.users.add(pair.account)
    server = pair.another_server()
    server.receive_data(second, now=NOW)
    assert isinstance(server.next_event(), Request)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bytes.fromhex("1603010200010001fc0303") + bytes(20), "TLS"),
        (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "HTTP"),
        (b"\x05\x0e" + bytes(14), "SOCKS5"),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00....", "SOCKS4"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY"),
        (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", "PROXY"),
    ],
)
def test_other_protocols_are_recognised(data: bytes, name: str) -> None:
    error = refusal(ConnectionPair().server, data)
    assert error.reason is Refusal.FOREIGN_PROTOCOL
    assert name in str(error)


def test_noise_is_an_unknown_user() -> None:
    for seed in range(50):
        noise = SeededEntropy(seed).token_bytes(64)
        error = refusal(ConnectionPair(alter_id_count=1).server, noise)
        assert error.reason is Refusal.UNKNOWN_USER


@pytest.mark.parametrize("security", [Security.NONE, Security.AES_128_CFB])
def test_insecure_encryption_can_be_forbidden(security: Security) -> None:
    pair = ConnectionPair()
    server = ServerConnection(
        pair.users, pair.replay, entropy=SeededEntropy(), allow_insecure=False
    )
    server.receive_data(pair.client.send(request(pair.account, security=security)), now=NOW)
    with pytest.raises(
        RemoteProtocolError, match=f"{security.word} is not allowed on this inbound"
    ):
        server.next_event()


def test_the_source_is_remembered_after_authentication_only() -> None:
    accounts = [Account(user_id=SeededEntropy(number).token_bytes(16)) for number in range(500)]
    users = UserRegistry(accounts)
    replay = ReplayCache(window=users.window)
    wire = ClientConnection(entropy=SeededEntropy()).send(request(accounts[321]))
    server = ServerConnection(users, replay, entropy=SeededEntropy(), source="192.0.2.1")
    server.receive_data(wire, now=NOW)
    (event,) = events_of(server)
    assert isinstance(event, Request)
    assert event.account is accounts[321]
