"""The speed of the core by itself: bodies, headers, whole exchanges, and WebSocket frames.

    python benchmarks/codec.py [--quick]

Every figure is the best of several rounds on one core, in process, without any network. The column
"payload" is the payload of a chunk; "16 KiB" is the largest chunk that our sealer writes, 16 384
bytes with its overhead. MB are 10^6 bytes of payload.
"""

import argparse
import platform
import secrets
import time
from collections.abc import Callable
from typing import Final

from trio_vmess.core import Codec, Destination
from trio_vmess.core.carriage.websocket import FrameReader, FrameWriter, draw_mask_keys
from trio_vmess.core.vmess import (
    V2RAY,
    Account,
    ClientConnection,
    Command,
    Data,
    Option,
    ReplayCache,
    Request,
    Response,
    Security,
    ServerConnection,
    UserRegistry,
)
from trio_vmess.core.vmess.body import BodyPlan, build_opener, build_sealer
from trio_vmess.core.vmess.security import BodyKeys, choose_framing

KEYS: Final = BodyKeys(key=bytes(range(16, 32)), iv=bytes(range(16)))
FRAMINGS: Final = {
    "S": Option.CHUNK_STREAM,
    "S+M": Option.CHUNK_STREAM | Option.MASK,
    "S+M+P": Option.CHUNK_STREAM | Option.MASK | Option.PADDING,
    "S+M+P+A": Option.CHUNK_STREAM | Option.MASK | Option.PADDING | Option.AUTHENTICATED_LENGTH,
}
BATCH: Final = 512 * 1024
HEADERS: Final = 200
NOW: Final = 1_700_000_000


def best_of(rounds: int, call: Callable[[], object]) -> float:
    """Return the shortest duration of one call, in seconds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def plan_of(security: Security, options: int) -> BodyPlan:
    framing = choose_framing(options, security, Command.TCP, V2RAY)
    return BodyPlan(security=security, framing=framing, request=KEYS, dialect=V2RAY)


def measure_body(
    security: Security, options: int, payload_size: int, rounds: int
) -> tuple[int, float, float]:
    """Return the payload of a chunk in bytes, and the seconds to seal and to open one."""
    plan = plan_of(security, options)
    sealer, payload_max = build_sealer(plan, KEYS, secrets)
    if payload_size == 0 and payload_max is not None:
        payload_size = payload_max
    count = max(1, BATCH // (payload_size + 100))
    payload = memoryview(secrets.token_bytes(payload_size))
    out = memoryview(bytearray(sealer.output_size(payload_size * count) + 100 * count))
    sealing = opening = float("inf")
    if payload_size == payload_max:
        batch = memoryview(bytes(payload) * count)

        def seal(sealer: Codec) -> int:
            return sealer.update_into(batch, out)

    else:

        def seal(sealer: Codec) -> int:
            written = 0
            for _ in range(count):
                written += sealer.update_into(payload, out[written:])
            return written

    plain = memoryview(bytearray(len(out)))
    opener = build_opener(plan, KEYS)
    for _ in range(rounds):
        start = time.perf_counter()
        written = seal(sealer)
        middle = time.perf_counter()
        opened = opener.update_into(out[:written], plain)
        end = time.perf_counter()
        if opened != payload_size * count:
            raise RuntimeError(f"{opened} bytes were opened, not {payload_size * count}")
        sealing = min(sealing, middle - start)
        opening = min(opening, end - middle)
    return payload_size, sealing / count, opening / count


def print_bodies(rounds: int) -> None:
    """Print the table of bodies."""
    print(
        "| security | options | payload | seal MB/s | seal µs/chunk | open MB/s | open µs/chunk |"
    )
    print("|---|---|---|---|---|---|---|")
    for security in (
        Security.AES_128_GCM,
        Security.CHACHA20_POLY1305,
        Security.AES_128_CFB,
        Security.NONE,
    ):
        for name, options in FRAMINGS.items():
            if options & Option.AUTHENTICATED_LENGTH and not security.is_aead:
                continue
            for wanted in (64, 1966, 0):
                size, sealing, opening = measure_body(security, options, wanted, rounds)
                shown = "16 KiB" if not wanted else str(size)
                print(
                    f"| {security.word} | {name} | {shown} "
                    f"| {size / sealing / 1e6:.0f} | {sealing * 1e6:.2f} "
                    f"| {size / opening / 1e6:.0f} | {opening * 1e6:.2f} |",
                    flush=True,
                )


def print_headers(rounds: int) -> None:
    """Print what headers and whole exchanges cost."""
    print()
    print("| header | µs |")
    print("|---|---|")
    destination = Destination(host="example.com", port=443)
    for name, alter_id_count in (("AEAD", 0), ("legacy", 4)):
        account = Account(user_id=secrets.token_bytes(16), alter_id_count=alter_id_count)
        users = UserRegistry([account])
        replay = ReplayCache(window=users.window)
        request = Request(
            account=account,
            destination=destination,
            security=Security.AES_128_GCM,
            options=0x0D,
            timestamp=NOW,
        )
        wires: list[bytes] = []

        def write_requests(request: Request = request, wires: list[bytes] = wires) -> None:
            wires.clear()
            for _ in range(HEADERS):
                client = ClientConnection(entropy=secrets)
                wires.append(client.send(request))

        def accept_requests(
            users: UserRegistry = users, replay: ReplayCache = replay, wires: list[bytes] = wires
        ) -> None:
            for wire in wires:
                server = ServerConnection(users, replay, entropy=secrets, source="192.0.2.1")
                server.receive_data(wire, now=NOW)
                if not isinstance(server.next_event(), Request):
                    raise RuntimeError("a valid header was refused")

        making = accepting = float("inf")
        for _ in range(rounds):
            making = min(making, best_of(1, write_requests))
            accepting = min(accepting, best_of(1, accept_requests))
        print(f"| {name}: client writes a request | {making / HEADERS * 1e6:.1f} |")
        print(f"| {name}: server accepts a request, one user | {accepting / HEADERS * 1e6:.1f} |")
        print(f"| {name}: a whole exchange, both ends | {measure_exchange(request, users):.1f} |")


def measure_exchange(request: Request, users: UserRegistry) -> float:
    """Return µs for request, response and 100 bytes each way, both ends together."""
    replay = ReplayCache(window=users.window)
    count = 500

    def exchange() -> None:
        for _ in range(count):
            client = ClientConnection(entropy=secrets)
            server = ServerConnection(users, replay, entropy=secrets)
            server.receive_data(
                client.send(request) + client.send(Data(payload=bytes(100))), now=NOW
            )
            server.next_event()
            server.next_event()
            client.receive_data(server.send(Response()) + server.send(Data(payload=bytes(100))))
            client.next_event()
            client.next_event()

    return best_of(3, exchange) / count * 1e6


def print_frames(rounds: int) -> None:
    """Print what WebSocket frames cost: written one by one, read in a batch of 512 KiB."""
    print()
    print("| WebSocket frame | payload | write µs | read µs |")
    print("|---|---|---|---|")
    for size in (64, 2048, 16 * 1024, 65_535):
        for name in ("plain", "masked"):
            writing, reading = measure_frames(size, masked=name == "masked", rounds=rounds)
            print(f"| {name} | {size} | {writing * 1e6:.2f} | {reading * 1e6:.2f} |")


def measure_frames(size: int, *, masked: bool, rounds: int) -> tuple[float, float]:
    """Return the seconds to write and to read one frame."""
    writer = FrameWriter(draw_mask_keys(secrets) if masked else None)
    payload = memoryview(secrets.token_bytes(size))
    count = BATCH // size
    out = memoryview(bytearray(count * writer.output_size(size)))
    writing = reading = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        written = 0
        for _ in range(count):
            written += writer.encode_into(payload, out[written:])
        middle = time.perf_counter()
        read = FrameReader(masked=masked).decode_in_place(out[:written])
        end = time.perf_counter()
        if read != count * size:
            raise RuntimeError(f"{read} bytes were read, not {count * size}")
        writing = min(writing, middle - start)
        reading = min(reading, end - middle)
    return writing / count, reading / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the core by itself.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: seconds, not minutes")
    rounds = 3 if parser.parse_args().quick else 40
    print(f"Python {platform.python_version()} on {platform.machine()}\n")
    print_bodies(rounds)
    print_headers(max(3, rounds // 4))
    print_frames(rounds)


if __name__ == "__main__":
    main()
