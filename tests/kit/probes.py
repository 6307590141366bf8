"""What a stranger may send to a VMess port to learn what listens there, and what he sees.

`list_probes` makes the probes, and `send_probes` sends them, many at a time; each gives the `Face`
that the server has shown.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs
import trio

from tests.kit.client_hello import make_hello
from tests.kit.entropy import SeededEntropy
from tests.kit.names import IPV4_LOOPBACK
from trio_vmess.core import Destination
from trio_vmess.core.vmess import Account, ClientConnection, Command, Request, Security

IN_FLIGHT: Final = 160
"""Probes at a time; they come from so many addresses that no source has many."""

_SOURCES: Final = [f"127.0.1.{number}" for number in range(1, 21)]
_AT_ONCE: Final = 0.4
"""Seconds in which a busy machine closes at once."""
_LATE: Final = 0.8
"""Seconds by which it may be late."""
_DRIP_PAUSE: Final = 0.01
_HALVES_PAUSE: Final = 0.3
_SETTLE: Final = 0.3
_READ_SIZE: Final = 65_536


@attrs.frozen
class Probe:
    """What is sent.

    Attributes:
        name: its kind, and which of that kind.
        pieces: sent one after the other.
        pause: seconds between them.
        has_fin: whether the sending direction is ended behind the last piece.
        is_replay: whether all of it is sent once before, as by its owner.
    """

    name: str
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    has_fin: bool = False
    is_replay: bool = False


@attrs.frozen
class Face:
    """What is seen.

    Attributes:
        answer_size: bytes that came back.
        end: `FIN`, `RST` or `held`.
        when: `at once` after the last byte or the FIN, `at the deadline` that begins with the
            connection, `at another time`, or `never` within the prober's patience.
        seconds: when exactly, since the connection began; not compared.
    """

    answer_size: int
    end: str
    when: str
    seconds: float = attrs.field(default=0.0, eq=False)

    def __str__(self) -> str:
        answer = f"{self.answer_size} bytes, " if self.answer_size else ""
        return f"{answer}{self.end} {self.when}"


@attrs.frozen(kw_only=True)
class Known:
    """What the prober knows of a user: only what it takes to have recorded a request.

    Attributes:
        account: the user.
        now: UTC seconds.
        port: a port on loopback where nobody listens: the destination of recorded requests.
    """

    account: Account
    now: int
    port: int

    def header(self, seed: int, *, ahead: int = 0) -> bytes:
        """Return a request header that has not been sent yet.

        Args:
            seed: of its randomness.
            ahead: seconds by which its clock is wrong.
        """
        destination = Destination(host="127.0.0.1", port=self.port)
        request = Request(
            account=self.account,
            destination=destination,
            command=Command.TCP,
            security=Security.AES_128_GCM,
            options=0x0D,
            timestamp=self.now + ahead,
        )
        return ClientConnection(entropy=SeededEntropy(seed)).send(request)


# Probes -------------------------------------------------------------------------------------------


def list_probes(known: Known, *, step: int = 1, seed: int = 1) -> list[Probe]:
    """Return probes of every kind, each with and without FIN.

    Args:
        known: the user whose requests are cut, changed and repeated.
        step: above 1, only each so manieth of those that differ by a number.
        seed: of all that is random; requests of one seed must not be sent twice to a server.
    """
    return [
        attrs.evolve(probe, name=f"{probe.name}, {'FIN' if has_fin else 'open'}", has_fin=has_fin)
        for has_fin, base in ((False, seed * 1_000_000), (True, seed * 1_000_000 + 500_000))
        for probe in _probes(known, step, base)
    ]


def _probes(known: Known, step: int, base: int) -> Iterator[Probe]:
    random = SeededEntropy(base).token_bytes
    for size in _sizes(step):
        yield Probe(f"random bytes: {size}", (random(size),))
    yield from _request_probes(known, step, base)
    for name, data in _other_protocols():
        yield Probe(f"other protocol: {name}", (data,))
    for name, data in (("random", random(60)), ("request", known.header(base + 1)[:60])):
        drops = tuple(bytes((byte,)) for byte in data)
        yield Probe(f"drip: {name}", drops, pause=_DRIP_PAUSE)
    for size in (15, 16, 17, 40, 100, 1000)[::step]:
        data = random(size)
        pieces = data[: size // 2], data[size // 2 :]
        yield Probe(f"halves: {size}", pieces, pause=_HALVES_PAUSE)


def _sizes(step: int) -> Iterable[int]:
    """Return lengths: the short ones closely, the long ones sampled."""
    return [*range(0, 128, step), *range(128, 4001, 97 * step), 16_384, 40_000, 100_000]


def _request_probes(known: Known, step: int, base: int) -> Iterator[Probe]:
    # As no request is sent twice, each probe has one of its own.
    size = len(known.header(base))
    for number, cut in enumerate(range(1, size, step)):
        header = known.header(base + 1000 + number)
        yield Probe(f"cut request: {cut}", (header[: min(cut, len(header) - 1)],))
    for number, place in enumerate(range(0, size, step)):
        flipped = bytearray(known.header(base + 2000 + number))
        place = min(place, len(flipped) - 1)
        flipped[place] ^= 1 << number % 8
        yield Probe(f"flipped bit: byte {place}", (bytes(flipped),))
    for number, extra in enumerate((0, 1, 100, 3000)):
        header = known.header(base + 3000 + number) + SeededEntropy(number).token_bytes(extra)
        yield Probe(f"replay: and {extra} bytes", (header,), is_replay=True)
    for number, ahead in enumerate((-86_400, -3600, -200, 200, 3600, 86_400)):
        header = known.header(base + 4000 + number, ahead=ahead)
        yield Probe(f"wrong time: {ahead}", (header,))


def _other_protocols() -> Iterator[tuple[str, bytes]]:
    yield "HTTP", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
    yield "HTTP CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\n\r\n"
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    yield "SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n"
    yield "SOCKS4", b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"
    yield "SOCKS5", b"\x05\x02\x00\x02"
    yield "SMTP", b"EHLO example.com\r\n"
    yield "RDP", bytes.fromhex("0300001300 0ee00000 00000001 00080003 000000")
    yield "DNS", bytes.fromhex("001d0001 01000001 00000000 0000 0377777703636f6d00 00010001")
    yield "TLS", make_hello("example.com")


# Sending ------------------------------------------------------------------------------------------


async def send_probes(
    port: int, probes: Sequence[Probe], *, deadline: float, patience: float
) -> dict[Probe, Face]:
    """Send probes, `IN_FLIGHT` at a time.

    Args:
        port: on 127.0.0.1.
        probes: what to send.
        deadline: seconds after which the server closes connections that have sent no request.
        patience: seconds after which a connection counts as held; above `deadline`.
    """
    faces: dict[Probe, Face] = {}
    limiter = trio.CapacityLimiter(IN_FLIGHT)

    async def send(number: int, probe: Probe) -> None:
        async with limiter:
            source = _SOURCES[number % len(_SOURCES)]
            if probe.is_replay:
                await _send_once(port, source, probe)
            faces[probe] = await _look(port, source, probe, deadline, patience)

    async with trio.open_nursery() as nursery:
        for number, probe in enumerate(probes):
            nursery.start_soon(send, number, probe)
    return {probe: faces[probe] for probe in probes}


async def _send_once(port: int, source: str, probe: Probe) -> None:
    async with await _connect(port, source) as stream:
        await stream.send_all(b"".join(probe.pieces))
        with trio.move_on_after(_SETTLE), contextlib.suppress(trio.BrokenResourceError):
            await stream.receive_some()


async def _connect(port: int, source: str) -> trio.SocketStream:
    return await trio.open_tcp_stream(IPV4_LOOPBACK, port, local_address=source)


async def _look(port: int, source: str, probe: Probe, deadline: float, patience: float) -> Face:
    size, end = 0, "held"
    # Before connecting: the server's deadline cannot begin earlier, however busy we are.
    begin = last = trio.current_time()
    async with await _connect(port, source) as stream:
        with trio.move_on_at(begin + patience):
            try:
                for number, piece in enumerate(probe.pieces):
                    if number:
                        await trio.sleep(probe.pause)
                    await stream.send_all(piece)
                    last = trio.current_time()
                if probe.has_fin:
                    await stream.send_eof()
                    last = trio.current_time()
                while answer := await stream.receive_some(_READ_SIZE):
                    size += len(answer)
                end = "FIN"
            except trio.BrokenResourceError:
                end = "RST"
        now = trio.current_time()
    return Face(size, end, _time_class(end, now - begin, now - last, deadline), now - begin)


def _time_class(end: str, since_begin: float, since_last: float, deadline: float) -> str:
    if end == "held":
        return "never"
    if deadline <= since_begin <= deadline + _LATE:
        return "at the deadline"
    return "at once" if since_last < _AT_ONCE else "at another time"


# Judging ------------------------------------------------------------------------------------------


def count_faces(
    faces: dict[Probe, Face], chosen: Callable[[Probe], bool] = lambda _probe: True
) -> Counter[Face]:
    """Return how many of the chosen probes have seen each face, the most frequent first."""
    return Counter(
        dict(Counter(face for probe, face in faces.items() if chosen(probe)).most_common())
    )


def faults(faces: dict[Probe, Face]) -> dict[str, str]:
    """Return what differs from the one face, by the name of the probe.

    The one face is silence until the handshake deadline, and a close at once after a FIN.
    """
    silence = Face(0, "FIN", "at the deadline")
    closed = Face(0, "FIN", "at once")
    return {
        probe.name: f"{face}, {face.seconds:.2f} s"
        for probe, face in faces.items()
        if face != (closed if probe.has_fin else silence)
    }
