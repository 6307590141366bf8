"""Bodies: recorded ones in both directions, and every way of cutting our own."""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.entropy import SeededEntropy
from tests.kit.scripted_entropy import PaddingEntropy
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core import Codec, IdentityCodec, PrefixedCodec
from trio_vmess.core.crypto import StreamCipher, cfb_decryptor, cfb_encryptor
from trio_vmess.core.vmess.body import (
    BodyPlan,
    PacketOpener,
    PacketSealer,
    build_opener,
    build_sealer,
)
from trio_vmess.core.vmess.constants import Command, Option, Security
from trio_vmess.core.vmess.dialect import DOCUMENT, V2RAY
from trio_vmess.core.vmess.security import BodyKeys, choose_framing
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

BODIES = [
    vector
    for name in (
        "body_legacy",
        "body_none",
        "body_aes128gcm",
        "body_chacha20",
        "body_auth_length_aes128gcm",
        "body_auth_length_chacha20",
    )
    for vector in load(name)
]

KEYS = BodyKeys(key=bytes(range(16, 32)), iv=bytes(range(16)))

OPTIONS = {
    "-": 0,
    "S": 0x01,
    "S+M": 0x05,
    "S+M+P": 0x0D,
    "S+A": 0x11,
    "S+M+A": 0x15,
    "S+M+P+A": 0x1D,
    "M": 0x04,
    "M+P": 0x0C,
    "M+P+A": 0x1C,
}


@attrs.frozen
class Kind:
    """One way to protect and cut a body."""

    security: Security
    options: int
    name: str


KINDS = [
    Kind(security, options, f"{security.word} {name}")
    for security in Security
    for name, options in OPTIONS.items()
]


def for_each_kind(
    kinds: Iterable[Kind] = KINDS,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return for_each(kinds, name=lambda kind: kind.name)


def plan_of(security: Security, options: int, command: Command = Command.TCP) -> BodyPlan:
    return BodyPlan(
        security=security,
        framing=choose_framing(options, security, command, V2RAY),
        request=KEYS,
        dialect=V2RAY,
    )


def feed(codec: Codec, *pieces: bytes) -> bytes:
    result = b""
    for piece in pieces:
        out = bytearray(codec.output_size(len(piece)))
        result += out[: codec.update_into(piece, memoryview(out))]
    return result


def finish(codec: Codec) -> bytes:
    out = bytearray(codec.output_size(0))
    return bytes(out[: codec.finalize_into(memoryview(out))])


def make_sealer(plan: BodyPlan, seed: int = 0) -> Codec:
    return build_sealer(plan, KEYS, SeededEntropy(seed))[0]


def seal(plan: BodyPlan, *pieces: bytes) -> bytes:
    sealer = make_sealer(plan)
    return feed(sealer, *pieces) + finish(sealer)


# In pieces --------------------------------------------------------------------------------------

PLAIN_KINDS = [kind for kind in KINDS if kind.security is Security.NONE]


@for_each_kind(PLAIN_KINDS)
@given(payload=st.binary(max_size=40_000), cuts=st.lists(st.integers(0, 60_000), max_size=6))
def test_pieces_hold_what_would_be_written(kind: Kind, payload: bytes, cuts: list[int]) -> None:
    plan = plan_of(kind.security, kind.options)
    expected = seal(plan, payload)
    sealer = make_sealer(plan).piecewise
    assert sealer is not None
    wire = b"".join(sealer.update_pieces(payload)) + finish(sealer)
    assert wire == expected

    bounds = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    opener = build_opener(plan, KEYS).piecewise
    assert opener is not None
    opened = b"".join(
        piece
        for start, stop in itertools.pairwise(bounds)
        for piece in opener.update_pieces(wire[start:stop])
    )
    assert opened == payload
    assert opener.ended == plan.framing.terminated


@for_each_kind([kind for kind in KINDS if kind.security is not Security.NONE])
def test_what_is_encrypted_does_not_come_in_pieces(kind: Kind) -> None:
    plan = plan_of(kind.security, kind.options)
    assert make_sealer(plan).piecewise is None
    assert build_opener(plan, KEYS).piecewise is None


def test_pieces_begin_behind_the_prefix() -> None:
    codec = PrefixedCodec(b"header", IdentityCodec())
    assert codec.piecewise is None
    assert feed(codec, b"x") == b"headerx"
    assert codec.piecewise is not None
    assert codec.piecewise.update_pieces(b"yz") == [b"yz"]


# Recorded bodies --------------------------------------------------------------------------------


def recorded(vector: dict[str, Any]) -> tuple[BodyPlan, BodyKeys, bytes, bytes, bytes]:
    """Return plan, keys, the response header in front, the body's bytes and its payload."""
    security = Security(vector["security"])
    plan = BodyPlan(
        security=security,
        framing=choose_framing(vector["option"], security, Command(vector["command"]), V2RAY),
        request=BodyKeys(
            key=bytes.fromhex(vector["request_key"]), iv=bytes.fromhex(vector["request_iv"])
        ),
        dialect=V2RAY,
    )
    keys = BodyKeys(key=bytes.fromhex(vector["key"]), iv=bytes.fromhex(vector["iv"]))
    wire = unpack(vector["wire"])
    header_len = vector.get("header_len", 0)
    payload = b"".join(map(unpack, vector["pieces"]))
    return plan, keys, wire[:header_len], wire[header_len:], payload


def continued(
    vector: dict[str, Any], plan: BodyPlan, keys: BodyKeys, *, encrypt: bool, header: bytes
) -> StreamCipher | None:
    """Return the CFB stream behind a legacy response header, where the body goes on in it."""
    if plan.security is not Security.AES_128_CFB or vector.get("header") != "legacy":
        return None
    if not encrypt:
        cipher = cfb_decryptor(keys.key, keys.iv)
        cipher.update(header)
        return cipher
    cipher = cfb_encryptor(keys.key, keys.iv)
    cipher.update(cfb_decryptor(keys.key, keys.iv).update(header))
    return cipher


@for_each(BODIES)
def test_opens_recorded_body(vector: dict[str, Any]) -> None:
    plan, keys, header, wire, payload = recorded(vector)
    boundaries: list[int] = []
    opener = build_opener(
        plan,
        keys,
        cipher=continued(vector, plan, keys, encrypt=False, header=header),
        boundaries=boundaries,
    )
    assert feed(opener, wire) == payload
    assert finish(opener) == b""
    assert opener.ended == vector["eof"]
    if vector["chunks"] is not None:
        assert boundaries == [c["data_len"] for c in vector["chunks"] if c["data_len"]]


@for_each(BODIES)
def test_seals_recorded_body_to_the_byte(vector: dict[str, Any]) -> None:
    plan, keys, header, wire, payload = recorded(vector)
    chunks = vector["chunks"]
    sealer, _ = build_sealer(
        plan,
        keys,
        PaddingEntropy([bytes.fromhex(chunk["padding"]) for chunk in chunks or ()]),
        cipher=continued(vector, plan, keys, encrypt=True, header=header),
    )
    if chunks is None:
        assert feed(sealer, payload) == wire
        return
    sealed, start = b"", 0
    for chunk in chunks:
        if chunk["data_len"]:
            sealed += feed(sealer, payload[start : start + chunk["data_len"]])
            start += chunk["data_len"]
        else:
            sealed += finish(sealer)
    assert sealed == wire


@for_each([v for v in BODIES if v["transfer"] == "packet"])
def test_recorded_datagrams_keep_their_boundaries(vector: dict[str, Any]) -> None:
    plan, keys, header, wire, _ = recorded(vector)
    boundaries: list[int] = []
    codec = build_opener(
        plan,
        keys,
        cipher=continued(vector, plan, keys, encrypt=False, header=header),
        boundaries=boundaries,
    )
    opener = PacketOpener(codec, boundaries)
    datagrams = []
    for position in range(0, len(wire), 700):
        datagrams += opener.open(wire[position : position + 700])
    assert datagrams == [unpack(piece) for piece in vector["pieces"] if unpack(piece)]


# Our own ----------------------------------------------------------------------------------------


@given(pieces=st.lists(st.binary(max_size=300) | st.just(bytes(40_000)), max_size=5))
@for_each_kind()
def test_round_trip(kind: Kind, pieces: list[bytes]) -> None:
    security, options = kind.security, kind.options
    plan = plan_of(security, options)
    opener = build_opener(plan, KEYS)
    assert feed(opener, seal(plan, *pieces)) == b"".join(pieces)
    finish(opener)
    assert opener.ended == bool(options & Option.CHUNK_STREAM)


@for_each_kind()
def test_every_split_opens_the_same(kind: Kind) -> None:
    security, options = kind.security, kind.options
    plan = plan_of(security, options)
    payload = b"the quick brown fox jumps over it"
    wire = seal(plan, payload[:10], payload[10:30], payload[30:])
    for cut in range(len(wire) + 1):
        opener = build_opener(plan, KEYS)
        assert feed(opener, wire[:cut], wire[cut:]) == payload
    opener = build_opener(plan, KEYS)
    assert feed(opener, *(wire[i : i + 1] for i in range(len(wire)))) == payload


LARGE = SeededEntropy(1).token_bytes(50_000)


@functools.cache
def sealed_large(kind: Kind) -> tuple[BodyPlan, bytes]:
    plan = plan_of(kind.security, kind.options)
    return plan, seal(plan, LARGE)


@given(cuts=st.lists(st.integers(0, 51_000), max_size=8).map(sorted))
@for_each_kind()
def test_random_splits_of_large_chunks_open_the_same(kind: Kind, cuts: list[int]) -> None:
    plan, wire = sealed_large(kind)
    opener = build_opener(plan, KEYS)
    pieces = [wire[a:b] for a, b in itertools.pairwise([0, *cuts, len(wire)])]
    assert feed(opener, *pieces) == LARGE
    finish(opener)


@for_each_kind()
def test_no_prefix_raises_and_cuts_are_told(kind: Kind) -> None:
    security, options = kind.security, kind.options
    plan = plan_of(security, options)
    sealer = make_sealer(plan)
    ends = [0]
    wire = b""
    for piece in (b"first", b"second", b"third"):
        wire += feed(sealer, piece)
        ends.append(len(wire))
    wire += finish(sealer)
    ends.append(len(wire))
    for cut in range(len(wire) + 1):
        opener = build_opener(plan, KEYS)
        assert b"firstsecondthird".startswith(feed(opener, wire[:cut]))
        if not plan.framing.chunked or cut in ends:
            finish(opener)
        else:
            with pytest.raises(RemoteProtocolError, match="cut off"):
                finish(opener)


@for_each_kind([kind for kind in KINDS if kind.security.is_aead])
def test_flipped_bit_never_alters_payload(kind: Kind) -> None:
    security, options = kind.security, kind.options
    plan = plan_of(security, options)
    payload = b"attack at dawn", b"retreat at dusk"
    wire = seal(plan, *payload)
    accepted = {b"", payload[0], b"".join(payload)}
    for position in range(len(wire)):
        damaged = bytearray(wire)
        damaged[position] ^= 1 << position % 8
        opener = build_opener(plan, KEYS)
        try:
            opened = feed(opener, bytes(damaged))
        except RemoteProtocolError:
            continue
        assert opened in accepted


@pytest.mark.parametrize("options", [0x01, 0x05, 0x0D])
def test_flipped_bit_in_cfb_payload_fails_its_checksum(options: int) -> None:
    plan = plan_of(Security.AES_128_CFB, options)
    sealer = make_sealer(plan)
    wire = bytearray(feed(sealer, b"attack at dawn"))
    wire[10] ^= 1
    with pytest.raises(RemoteProtocolError, match="checksum"):
        feed(build_opener(plan, KEYS), bytes(wire))


@pytest.mark.parametrize("security", [Security.AES_128_GCM, Security.CHACHA20_POLY1305])
@pytest.mark.parametrize("options", [0x01, 0x0D, 0x1D])
def test_terminator_is_authentic_or_refused(security: Security, options: int) -> None:
    plan = plan_of(security, options)
    sealer = make_sealer(plan)
    terminator = bytearray(finish(sealer))
    opener = build_opener(plan, KEYS)
    feed(opener, bytes(terminator))
    assert opener.ended
    start = 18 if plan.framing.authenticated_length else 2
    terminator[start] ^= 1
    opener = build_opener(plan, KEYS)
    with pytest.raises(RemoteProtocolError, match="tag"):
        feed(opener, bytes(terminator))
    assert not opener.ended


@for_each_kind()
def test_what_follows_the_end_is_ignored(kind: Kind) -> None:
    security, options = kind.security, kind.options
    if not options & Option.CHUNK_STREAM:
        return  # nothing says the end
    plan = plan_of(security, options)
    opener = build_opener(plan, KEYS)
    assert feed(opener, seal(plan, b"hello") + b"noise", b"more noise") == b"hello"
    finish(opener)


@pytest.mark.parametrize("security", [Security.AES_128_GCM, Security.CHACHA20_POLY1305])
def test_impossible_sizes_are_fatal(security: Security) -> None:
    opener = build_opener(plan_of(security, 0x01), KEYS)
    with pytest.raises(RemoteProtocolError, match="chunk size: 15"):
        feed(opener, b"\x00\x0f")


def test_cfb_chunk_shorter_than_its_checksum_is_fatal() -> None:
    wire = cfb_encryptor(KEYS.key, KEYS.iv).update(b"\x00\x03abc")
    with pytest.raises(RemoteProtocolError, match="chunk size: 3"):
        feed(build_opener(plan_of(Security.AES_128_CFB, 0x01), KEYS), wire)


def test_document_refuses_larger_chunks_than_it_names() -> None:
    plan = BodyPlan(
        security=Security.NONE,
        framing=choose_framing(0x01, Security.NONE, Command.TCP, DOCUMENT),
        request=KEYS,
        dialect=DOCUMENT,
    )
    payload = bytes(1 << 14)
    assert feed(build_opener(plan, KEYS), b"\x40\x00" + payload) == payload
    with pytest.raises(RemoteProtocolError, match="16385"):
        feed(build_opener(plan, KEYS), b"\x40\x01")


def test_reads_the_largest_chunk_that_a_size_can_say() -> None:
    plan = plan_of(Security.NONE, 0x01)
    payload = SeededEntropy(7).token_bytes(0xFFFF)
    assert feed(build_opener(plan, KEYS), b"\xff\xff" + payload) == payload


@for_each_kind()
def test_writes_no_chunk_past_the_documents_limit(kind: Kind) -> None:
    security, options = kind.security, kind.options
    plan = plan_of(security, options)
    if not plan.framing.chunked:
        return
    boundaries: list[int] = []
    opener = build_opener(plan, KEYS, boundaries=boundaries)
    feed(opener, seal(plan, bytes(100_000)))
    overhead = {Security.NONE: 0, Security.AES_128_CFB: 4}.get(security, 16)
    assert sum(boundaries) == 100_000
    assert max(boundaries) + overhead <= 1 << 14
    assert max(boundaries) > 16_000


def test_the_chunk_counter_wraps_after_65536_chunks() -> None:
    plan = plan_of(Security.AES_128_GCM, 0x05)
    sealer = make_sealer(plan)
    payload = bytes(range(256)) * 0x100 + b"\0\1\2"
    size = 2 + 1 + 16
    out = memoryview(bytearray(sealer.output_size(1)))
    wire = bytearray()
    for position in range(len(payload)):
        wire += out[: sealer.update_into(payload[position : position + 1], out)]
    assert feed(build_opener(plan, KEYS), bytes(wire)) == payload
    # The same nonces again, as in every implementation: only the masks of the sizes differ.
    for number in range(3):
        first, again = number * size, (0x10000 + number) * size
        assert wire[first + 2 : first + size] == wire[again + 2 : again + size]
        assert wire[first : first + 2] != wire[again : again + 2]


@given(datagrams=st.lists(st.binary(max_size=2000), max_size=6), cut=st.integers(0, 5000))
@for_each_kind()
def test_datagrams_round_trip(kind: Kind, datagrams: list[bytes], cut: int) -> None:
    security, options = kind.security, kind.options
    plan = plan_of(security, options | Option.CHUNK_STREAM, Command.UDP)
    codec, payload_max = build_sealer(plan, KEYS, SeededEntropy(3))
    sealer = PacketSealer(codec, payload_max)
    boundaries: list[int] = []
    opener = PacketOpener(build_opener(plan, KEYS, boundaries=boundaries), boundaries)
    wire = b"".join(map(sealer.seal, datagrams)) + sealer.finalize()
    assert opener.open(wire[:cut]) + opener.open(wire[cut:]) == [d for d in datagrams if d]
    assert opener.ended
    opener.finalize()


def test_too_large_a_datagram_is_refused_and_harms_nothing() -> None:
    plan = plan_of(Security.AES_128_GCM, 0x0D, Command.UDP)
    codec, payload_max = build_sealer(plan, KEYS, SeededEntropy(3))
    sealer = PacketSealer(codec, payload_max)
    boundaries: list[int] = []
    opener = PacketOpener(build_opener(plan, KEYS, boundaries=boundaries), boundaries)
    wire = sealer.seal(b"before")
    with pytest.raises(LocalProtocolError, match="limit"):
        sealer.seal(bytes(1 << 14))
    wire += sealer.seal(b"after")
    assert opener.open(wire) == [b"before", b"after"]
    several, dropped = sealer.seal_all([b"1", bytes(1 << 14), b"", b"2"], prefix=b"head")
    assert dropped == 1
    assert several[:4] == b"head"
    assert opener.open(several[4:]) == [b"1", b"2"]


def test_packets_without_chunks_are_what_arrives_together() -> None:
    plan = plan_of(Security.NONE, 0, Command.UDP)
    opener = PacketOpener(build_opener(plan, KEYS), None)
    assert opener.open(b"one") == [b"one"]
    assert opener.open(b"") == []


def test_same_entropy_gives_the_same_bytes() -> None:
    plan = plan_of(Security.AES_128_GCM, 0x1D)
    assert seal(plan, bytes(70_000)) == seal(plan, bytes(70_000))
