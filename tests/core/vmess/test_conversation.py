"""Whole conversations: a client and a server that talk to each other."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, TARGET, ConnectionPair, account, events_of, payload_of, request
from trio_vmess.core import NEED_DATA, Codec, Destination, Network, PrefixedCodec
from trio_vmess.core.vmess import (
    DOCUMENT,
    MUX_DESTINATION,
    V2RAY,
    ClientConnection,
    Command,
    Data,
    Dialect,
    EndOfStream,
    Event,
    HeaderForm,
    PacketBody,
    Phase,
    ReplayCache,
    Request,
    Response,
    Security,
    ServerConnection,
    StreamBody,
    SwitchAccount,
    choose_security,
)
from trio_vmess.core.vmess.state import Signal, advance
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

KINDS = [
    pytest.param(dialect, alter_ids, security, options, id=f"{dialect.name}-{alter_ids}-{name}")
    for dialect, alter_ids in ((V2RAY, 0), (V2RAY, 4), (DOCUMENT, 0), (DOCUMENT, 4))
    for security, options, name in (
        (Security.AES_128_GCM, 0x0D, "gcm"),
        (Security.AES_128_GCM, 0x1D, "gcm-auth-length"),
        (Security.CHACHA20_POLY1305, 0x05, "chacha"),
        (Security.AES_128_CFB, 0x01, "cfb"),
        (Security.AES_128_CFB, 0x00, "cfb-raw"),
        (Security.NONE, 0x05, "none"),
        (Security.NONE, 0x00, "zero"),
    )
]


@pytest.mark.parametrize(("dialect", "alter_ids", "security", "options"), KINDS)
def test_a_whole_conversation(
    dialect: Dialect, alter_ids: int, security: Security, options: int
) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids, dialect=dialect)
    asked = request(pair.account, security=security, options=options)
    events = pair.up(asked, Data(payload=b"hello "), Data(payload=b"server"))
    assert isinstance(events[0], Request)
    legacy = alter_ids or dialect is DOCUMENT
    form = HeaderForm.LEGACY if legacy else HeaderForm.AEAD
    assert abs(events[0].timestamp - NOW) <= (30 if legacy else 0)
    assert events[0] == attrs.evolve(asked, timestamp=events[0].timestamp, form=form)
    assert payload_of(events) == b"hello server"

    switch = SwitchAccount(port=4096, user_id=bytes(range(16)), minutes=5)
    answer = Response(switch_account=switch)
    events = pair.down(answer, Data(payload=b"hello "), Data(payload=b"client"))
    assert events[0] == answer
    assert payload_of(events) == b"hello client"

    sends_terminator = bool(options & 1)
    assert pair.up(EndOfStream()) == ([EndOfStream()] if sends_terminator else [])
    # The other direction goes on for as long as it likes.
    assert payload_of(pair.down(Data(payload=b"bye"))) == b"bye"
    assert pair.down(EndOfStream()) == ([EndOfStream()] if sends_terminator else [])
    pair.server.receive_eof()
    pair.client.receive_eof()
    ends: list[Event] = [] if sends_terminator else [EndOfStream(explicit=False)]
    assert events_of(pair.server) == ends
    assert events_of(pair.client) == ends
    assert {pair.client.receiving, pair.server.receiving} == {Phase.ENDED}


# The document's dialect authenticates with the main id: alter ids change nothing there.
@pytest.mark.parametrize(
    ("dialect", "alter_ids", "security", "options"),
    [kind for kind in KINDS if kind.values[:2] != (DOCUMENT, 4)],
)
def test_every_split_gives_the_same_events(
    dialect: Dialect, alter_ids: int, security: Security, options: int
) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids, dialect=dialect)
    asked = request(pair.account, security=security, options=options)
    to_server = b"".join(map(pair.client.send, (asked, Data(payload=b"question"), EndOfStream())))

    def hear(*pieces: bytes) -> tuple[ServerConnection, list[Event], bytes]:
        pair.replay = ReplayCache(window=pair.users.window)
        server = pair.another_server()
        events: list[Event] = []
        for piece in (*pieces, b""):
            server.receive_data(piece, now=NOW)
            events += events_of(server)
        return (
            server,
            [event for event in events if not isinstance(event, Data)],
            payload_of(events),
        )

    server, *whole = hear(to_server)
    assert whole[1] == b"question"
    for cut in range(1, len(to_server)):
        assert [*hear(to_server[:cut], to_server[cut:])[1:]] == whole

    to_client = b"".join(map(server.send, (Response(), Data(payload=b"answer"), EndOfStream())))

    def read(*pieces: bytes) -> tuple[list[Event], bytes]:
        client = ClientConnection(entropy=SeededEntropy(0), dialect=dialect)
        client.send(asked)
        events: list[Event] = []
        for piece in (*pieces, b""):
            client.receive_data(piece)
            events += events_of(client)
        return [event for event in events if not isinstance(event, Data)], payload_of(events)

    expected = read(to_client)
    assert expected[1] == b"answer"
    for cut in range(1, len(to_client)):
        assert read(to_client[:cut], to_client[cut:]) == expected


def test_two_runs_with_one_seed_give_equal_bytes() -> None:
    def run(seed: int) -> list[bytes]:
        pair = ConnectionPair(alter_id_count=3, seed=seed)
        wire = [
            pair.client.send(request(pair.account)),
            pair.client.send(Data(payload=bytes(40_000))),
        ]
        for piece in wire:
            pair.server.receive_data(piece, now=NOW)
        events_of(pair.server)
        return [*wire, pair.server.send(Response()), pair.server.send(Data(payload=bytes(40_000)))]

    assert run(5) == run(5)
    assert run(5) != run(6)


@pytest.mark.parametrize("alter_ids", [0, 4])
@pytest.mark.parametrize("security", list(Security))
def test_datagrams(alter_ids: int, security: Security) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    target = Destination(host="localhost", port=53, network=Network.UDP)
    asked = request(
        pair.account, security=security, options=0x0D, command=Command.UDP, destination=target
    )
    events = pair.up(asked, Data(payload=b"one"), Data(payload=b""), Data(payload=b"two" * 500))
    assert events[1:] == [Data(payload=b"one"), Data(payload=b"two" * 500)]
    assert pair.down(Response(), Data(payload=b"three"), Data(payload=b"four"))[1:] == [
        Data(payload=b"three"),
        Data(payload=b"four"),
    ]
    with pytest.raises(LocalProtocolError, match="limit"):
        pair.client.send(Data(payload=bytes(20_000)))
    assert pair.up(Data(payload=b"five")) == [Data(payload=b"five")]


def test_mux_has_no_destination_on_the_wire() -> None:
    pair = ConnectionPair()
    asked = request(pair.account, command=Command.MUX, destination=MUX_DESTINATION)
    (event,) = pair.up(asked)
    assert isinstance(event, Request)
    assert event.command is Command.MUX
    assert event.destination == MUX_DESTINATION


# Rules ------------------------------------------------------------------------------------------


def test_events_out_of_turn_are_refused() -> None:
    pair = ConnectionPair()
    for event in (Data(payload=b"x"), EndOfStream(), Response()):
        with pytest.raises(LocalProtocolError):
            pair.client.send(event)
        with pytest.raises(LocalProtocolError):
            pair.server.send(event)
    pair.up(request(pair.account))
    with pytest.raises(LocalProtocolError, match="Request"):
        pair.client.send(request(pair.account))
    with pytest.raises(LocalProtocolError, match="only a client sends a Request"):
        pair.server.send(request(pair.account))
    pair.down(Response(), EndOfStream())
    for event in (Response(), Data(payload=b"late"), EndOfStream()):
        with pytest.raises(LocalProtocolError):
            pair.server.send(event)
    assert pair.up(Data(payload=b"still open")) == [Data(payload=b"still open")]


def test_a_refused_event_changes_nothing() -> None:
    pair = ConnectionPair()
    bad = request(pair.account, destination=Destination(host="a b", port=1))
    with pytest.raises(LocalProtocolError, match="domain"):
        pair.client.send(bad)
    assert payload_of(pair.up(request(pair.account), Data(payload=b"ok"))) == b"ok"


def test_the_form_follows_from_the_account() -> None:
    asked = attrs.evolve(request(account(4)), form=HeaderForm.AEAD)
    with pytest.raises(LocalProtocolError, match="legacy"):
        ClientConnection(entropy=SeededEntropy()).send(asked)


def test_data_before_the_request_is_an_error() -> None:
    client = ClientConnection(entropy=SeededEntropy())
    assert client.next_event() is NEED_DATA
    client.receive_data(b"220 smtp.example.com")
    with pytest.raises(RemoteProtocolError, match="before the request"):
        client.next_event()


@pytest.mark.parametrize("alter_ids", [0, 4])
def test_a_close_before_the_answer_is_an_error_and_stays_one(alter_ids: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    pair.up(request(pair.account))
    pair.client.receive_data(pair.server.send(Response())[:3])
    assert pair.client.next_event() is NEED_DATA
    pair.client.receive_eof()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="closed the connection without an answer"):
            pair.client.next_event()
    assert pair.client.receiving is Phase.FAILED


@pytest.mark.parametrize("alter_ids", [0, 4])
def test_an_answer_to_another_request_is_refused(alter_ids: int) -> None:
    pair, other = ConnectionPair(alter_id_count=alter_ids), ConnectionPair(seed=1)
    other.up(request(other.account))
    pair.up(request(pair.account))
    pair.client.receive_data(other.server.send(Response()))
    with pytest.raises(RemoteProtocolError, match=r"response (header|authentication)"):
        events_of(pair.client)


def test_a_body_cut_off_inside_a_chunk_is_an_error() -> None:
    pair = ConnectionPair()
    pair.up(request(pair.account))
    pair.server.receive_data(pair.client.send(Data(payload=b"x" * 100))[:50], now=NOW)
    pair.server.receive_eof()
    with pytest.raises(RemoteProtocolError, match="cut off"):
        events_of(pair.server)


@pytest.mark.parametrize("explicitly", [True, False])
@pytest.mark.parametrize("cut", [0, 5, 40])
def test_a_request_cannot_be_completed_after_the_end_of_the_stream(
    explicitly: bool, cut: int
) -> None:
    pair = ConnectionPair()
    wire = pair.client.send(request(pair.account))
    if cut:
        pair.server.receive_data(wire[:cut], now=NOW)
    if explicitly:
        pair.server.receive_eof()
    else:
        pair.server.receive_data(b"", now=NOW)
    with pytest.raises(LocalProtocolError, match="ended"):
        pair.server.receive_data(wire[cut:], now=NOW)
    # The end may be announced again.
    pair.server.receive_eof()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=f"ended after {cut} bytes"):
            pair.server.next_event()
    with pytest.raises(LocalProtocolError, match="ended"):
        pair.server.receive_data(wire[cut:], now=NOW)


@pytest.mark.parametrize("answered", [False, True])
def test_an_answer_cannot_go_on_after_the_end_of_the_stream(answered: bool) -> None:
    pair = ConnectionPair()
    pair.up(request(pair.account))
    wire = pair.server.send(Response())
    if answered:
        pair.client.receive_data(wire)
        wire = pair.server.send(Data(payload=b"late"))
    pair.client.receive_eof()
    with pytest.raises(LocalProtocolError, match="ended"):
        pair.client.receive_data(wire)
    if answered:
        assert events_of(pair.client) == [Response(), EndOfStream(explicit=False)]
        with pytest.raises(LocalProtocolError, match="ended"):
            pair.client.receive_data(wire)
    else:
        with pytest.raises(RemoteProtocolError, match="closed the connection without an answer"):
            pair.client.next_event()


def test_bytes_behind_the_terminator_are_ignored_until_the_stream_ends() -> None:
    pair = ConnectionPair()
    assert pair.up(request(pair.account), EndOfStream())[1:] == [EndOfStream()]
    pair.server.receive_data(b"behind it", now=NOW)
    assert pair.server.next_event() is NEED_DATA
    pair.server.receive_eof()
    assert pair.server.next_event() is NEED_DATA
    with pytest.raises(LocalProtocolError, match="ended"):
        pair.server.receive_data(b"and more", now=NOW)


@pytest.mark.parametrize("alter_ids", [0, 4])
@pytest.mark.parametrize("timestamp", [1 << 63, -(1 << 63) - 31])
def test_a_request_needs_a_timestamp_of_64_bits(alter_ids: int, timestamp: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    pair.client = ClientConnection(entropy=SeededEntropy(), jitter=0)
    with pytest.raises(LocalProtocolError, match="64 bits"):
        pair.client.send(request(pair.account, timestamp=timestamp))
    # A refused event changes nothing.
    assert len(pair.up(request(pair.account))) == 1


@pytest.mark.parametrize("alter_ids", [0, 4])
@pytest.mark.parametrize("now", [1 << 63, -(1 << 63) - 1])
def test_a_server_needs_a_clock_of_64_bits(alter_ids: int, now: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    wire = pair.client.send(request(pair.account))
    with pytest.raises(LocalProtocolError, match="64 bits"):
        pair.server.receive_data(wire, now=now)
    # Nothing was stored.
    pair.server.receive_data(wire, now=NOW)
    assert isinstance(pair.server.next_event(), Request)


@pytest.mark.parametrize("alter_ids", [0, 4])
@pytest.mark.parametrize("now", [(1 << 63) - 1, -(1 << 63)])
def test_the_first_and_the_last_second_are_like_any_other(alter_ids: int, now: int) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids)
    pair.client = ClientConnection(entropy=SeededEntropy(), jitter=0)
    wire = pair.client.send(request(pair.account, timestamp=now))
    if alter_ids:
        pair.server.receive_data(wire, now=now)
        assert isinstance(pair.server.next_event(), Request)
    stranger = pair.another_server()
    stranger.receive_data(bytes(100), now=now)
    with pytest.raises(RemoteProtocolError):
        stranger.next_event()


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    "step", [Response(), Data(payload=b"x"), EndOfStream(), *Signal], ids=lambda step: repr(step)
)
def test_the_state_table(phase: Phase, step: Event | Signal) -> None:
    match phase, step:
        case Phase.HEADER, Response():
            expected = Phase.BODY
        case Phase.BODY, Data():
            expected = Phase.BODY
        case Phase.BODY, EndOfStream():
            expected = Phase.ENDED
        case Phase.BODY, Signal.HAND_OVER:
            expected = Phase.HANDED_OVER
        case ((Phase.HEADER | Phase.BODY), Signal.FAULT):
            expected = Phase.FAILED
        case _:
            with pytest.raises(
                LocalProtocolError, match=f"not allowed in the phase '{phase.value}'"
            ):
                advance(phase, step)
            return
    assert advance(phase, step) is expected


def test_the_buffer_has_a_bound() -> None:
    pair = ConnectionPair()
    with pytest.raises(RemoteProtocolError, match="limit"):
        pair.server.receive_data(bytes((1 << 20) + 1), now=NOW)


# Handing over -----------------------------------------------------------------------------------


def run_codec(codec: Codec, *pieces: bytes, end: bool = False) -> bytes:
    result = b""
    for piece in pieces:
        out = bytearray(codec.output_size(len(piece)))
        result += out[: codec.update_into(piece, memoryview(out))]
    if end:
        out = bytearray(codec.output_size(0))
        result += out[: codec.finalize_into(memoryview(out))]
    return result


@pytest.mark.parametrize(("dialect", "alter_ids", "security", "options"), KINDS)
def test_codecs_are_handed_over_with_leftover_bytes(
    dialect: Dialect, alter_ids: int, security: Security, options: int
) -> None:
    pair = ConnectionPair(alter_id_count=alter_ids, dialect=dialect)
    asked = request(pair.account, security=security, options=options)
    head = pair.client.send(asked)
    seen: list[Response] = []
    client = pair.client.hand_over_early(seen.append)
    assert isinstance(client, StreamBody)
    uplink = PrefixedCodec(head, client.sealer)

    first = run_codec(uplink, b"first")
    pair.server.receive_data(first, now=NOW)
    assert isinstance(pair.server.next_event(), Request)
    header = pair.server.send(Response())
    server = pair.server.hand_over()
    assert isinstance(server, StreamBody)
    payload = run_codec(server.opener, server.trailing)
    payload += run_codec(server.opener, run_codec(uplink, b" second", end=True), end=True)
    assert payload == b"first second"

    answer = run_codec(PrefixedCodec(header, server.sealer), b"answer", end=True)
    opened = b""
    for position in range(len(answer)):
        opened += run_codec(client.opener, answer[position : position + 1])
    assert opened + run_codec(client.opener, end=True) == b"answer"
    assert seen == [Response()]
    assert client.opener.ended == server.opener.ended == bool(options & 1)


def test_datagram_codecs_are_handed_over() -> None:
    pair = ConnectionPair()
    target = Destination(host="localhost", port=53, network=Network.UDP)
    head = pair.client.send(request(pair.account, command=Command.UDP, destination=target))
    seen: list[Response] = []
    client = pair.client.hand_over_early(seen.append)
    assert isinstance(client, PacketBody)
    pair.server.receive_data(head + client.sealer.seal(b"question"), now=NOW)
    assert isinstance(pair.server.next_event(), Request)
    header = pair.server.send(Response())
    server = pair.server.hand_over()
    assert isinstance(server, PacketBody)
    assert server.opener.open(server.trailing) == [b"question"]
    wire = header + server.sealer.seal(b"one") + server.sealer.seal(b"two")
    assert client.opener.open(wire[:50]) + client.opener.open(wire[50:]) == [b"one", b"two"]
    client.opener.finalize()
    assert seen == [Response()]


def test_a_connection_is_unusable_after_the_hand_over() -> None:
    pair = ConnectionPair()
    with pytest.raises(LocalProtocolError, match="hand-over"):
        pair.server.hand_over()
    with pytest.raises(LocalProtocolError, match="hand-over"):
        pair.client.hand_over_early(lambda _: None)
    pair.up(request(pair.account))
    pair.down(Response())
    with pytest.raises(LocalProtocolError, match="use hand_over"):
        pair.client.hand_over_early(lambda _: None)
    for connection in (pair.client, pair.server):
        connection.hand_over()
        assert connection.next_event() is NEED_DATA
        with pytest.raises(LocalProtocolError):
            connection.send(Data(payload=b"x"))
    with pytest.raises(LocalProtocolError, match="handed over"):
        pair.server.receive_data(b"x", now=NOW)


def test_early_opener_reports_a_missing_answer() -> None:
    pair = ConnectionPair()
    pair.client.send(request(pair.account))
    body = pair.client.hand_over_early(lambda _: None)
    assert isinstance(body, StreamBody)
    with pytest.raises(RemoteProtocolError, match="closed the connection without an answer"):
        run_codec(body.opener, end=True)


# Words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "machine", "command", "expected"),
    [
        ("auto", "x86_64", Command.TCP, (Security.AES_128_GCM, 0x0D)),
        ("auto", "AMD64", Command.TCP, (Security.AES_128_GCM, 0x0D)),
        ("auto", "aarch64", Command.UDP, (Security.AES_128_GCM, 0x0D)),
        ("auto", "s390x", Command.MUX, (Security.AES_128_GCM, 0x0D)),
        ("auto", "riscv64", Command.TCP, (Security.CHACHA20_POLY1305, 0x0D)),
        ("aes-128-gcm", "riscv64", Command.TCP, (Security.AES_128_GCM, 0x0D)),
        ("chacha20-poly1305", "x86_64", Command.TCP, (Security.CHACHA20_POLY1305, 0x0D)),
        ("none", "x86_64", Command.TCP, (Security.NONE, 0x05)),
        ("none", "x86_64", Command.UDP, (Security.NONE, 0x05)),
        ("zero", "x86_64", Command.TCP, (Security.NONE, 0x00)),
        ("zero", "x86_64", Command.UDP, (Security.NONE, 0x01)),
        ("aes-128-cfb", "x86_64", Command.TCP, (Security.AES_128_CFB, 0x01)),
    ],
)
def test_choose_security(
    word: str, machine: str, command: Command, expected: tuple[Security, int]
) -> None:
    assert choose_security(word, machine=machine, command=command, dialect=V2RAY) == expected


def test_choose_security_follows_options_and_dialect() -> None:
    def choose(dialect: Dialect, *, padding: bool, authenticated_length: bool) -> int:
        return choose_security(
            "auto",
            machine="x86_64",
            command=Command.TCP,
            dialect=dialect,
            padding=padding,
            authenticated_length=authenticated_length,
        )[1]

    assert choose(V2RAY, padding=False, authenticated_length=False) == 0x05
    assert choose(V2RAY, padding=True, authenticated_length=True) == 0x1D
    assert choose(DOCUMENT, padding=True, authenticated_length=True) == 0x05
    with pytest.raises(LocalProtocolError, match="rot13"):
        choose_security("rot13", machine="", command=Command.TCP, dialect=V2RAY)


@given(jitter=st.integers(1, 30), seed=st.integers(0, 1000))
def test_jitter_stays_in_its_range(jitter: int, seed: int) -> None:
    pair = ConnectionPair(alter_id_count=2)
    pair.client = ClientConnection(entropy=SeededEntropy(seed), jitter=jitter)
    (event,) = pair.up(request(pair.account))
    assert isinstance(event, Request)
    assert -jitter <= event.timestamp - NOW < jitter


def test_no_jitter_where_the_server_wants_none() -> None:
    pair = ConnectionPair(alter_id_count=1)
    pair.client = ClientConnection(entropy=SeededEntropy(), jitter=0)
    (event,) = pair.up(request(pair.account))
    assert isinstance(event, Request)
    assert event.timestamp == NOW
    assert event.destination == TARGET
