"""What a port answers to those who do not speak VMess: to a TLS handshake, to an HTTP request."""

import contextlib
import email.utils
import enum
import re
from typing import Final

import attrs
import trio

from trio_vmess.config import OutboundSettings, TcpSettings, TlsSettings
from trio_vmess.contracts import Connect
from trio_vmess.core import Host, format_endpoint
from trio_vmess.core.x509 import read_certificate
from trio_vmess.diagnosis.doctor.observation import HEAD_SIZE, Observation
from trio_vmess.diagnosis.doctor.trials import Means
from trio_vmess.errors import DialError, RemoteProtocolError
from trio_vmess.node import Dialler, LayerBuilder, OutboundLayer

PATIENCE: Final = 3.0
"""Seconds for an answer: who speaks HTTP or TLS answers at once."""

_FAULTS: Final = (DialError, RemoteProtocolError, trio.BrokenResourceError)
_ALPN: Final = ("http/1.1",)
_HEAD_END: Final = b"\r\n\r\n"
_FIELD: Final = re.compile(rb"(?im)^(date|server):[ \t]*([^\r\n]*)\r?$")
_RECORD_TYPES: Final = range(0x14, 0x18)
_SETTINGS_FRAME: Final = 4


class Language(enum.Enum):
    """What the first bytes of a server are."""

    NOTHING = "nothing"
    TLS = "TLS"
    HTTP = "HTTP"
    HTTP_2 = "HTTP/2"
    OTHER = "something else"


def language_of(head: bytes) -> Language:
    """Recognise the first bytes of a server."""
    if not head:
        return Language.NOTHING
    if head.startswith(b"HTTP/"):
        return Language.HTTP
    if head[0] in _RECORD_TYPES and head[1:2] == b"\x03":
        return Language.TLS
    if len(head) >= 9 and not head[0] and head[3] == _SETTINGS_FRAME and not any(head[5:9]):
        return Language.HTTP_2
    return Language.OTHER


def field_of(head: bytes, name: str) -> str:
    """Return `Date` or `Server` of an HTTP head; empty if there is none."""
    if not head.startswith(b"HTTP/"):
        return ""
    fields = _FIELD.findall(head.partition(_HEAD_END)[0] + b"\r\n")
    found = (value for key, value in fields if key.lower() == name.lower().encode())
    return next(found, b"").decode("latin-1").strip()


def date_of(head: bytes) -> int | None:
    """Return the UTC second in the Date of an HTTP head; None if there is none."""
    try:
        return int(email.utils.parsedate_to_datetime(field_of(head, "date")).timestamp())
    except (ValueError, OverflowError):
        return None


def status_of(head: bytes) -> str:
    """Return the status line of an HTTP head, such as `HTTP/1.1 404 Not Found`."""
    return head.partition(b"\r\n")[0][:80].decode("latin-1")


@attrs.frozen(kw_only=True)
class Greeting:
    """What a port has answered.

    Attributes:
        head: to an HTTP request: the first bytes; empty if it was silent.
        head_at: the UTC second when they came.
        certificate: to a TLS handshake: what its certificate says; empty if there was no handshake.
    """

    head: bytes = b""
    head_at: int | None = None
    certificate: str = ""


UNKNOWN: Final = Greeting()
"""Nobody has asked, or there was no answer."""


async def greet_http(means: Means, settings: OutboundSettings, host: Host, port: int) -> Greeting:
    """Ask for `/` where VMess or its carrier would begin: in TLS, if that is configured."""
    observation = Observation(means.clock)
    tls, name = settings.stream.tls, format_endpoint(host, port)
    if tls is not None:
        tls, name = attrs.evolve(tls, alpn=_ALPN), tls.server_name or name
    connect = _connect(means, settings, tls, observation)
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    head, buffer = b"", memoryview(bytearray(4096))
    with trio.move_on_after(min(means.limit, PATIENCE)):
        with contextlib.suppress(*_FAULTS):
            transport = await connect(host, port)
            try:
                await transport.send_all(request)
                while (
                    len(head) < HEAD_SIZE
                    and _HEAD_END not in head
                    and (size := await transport.receive_into(buffer))
                ):
                    head += buffer[:size]
            finally:
                await transport.aclose()
    head_at = observation.taps[-1].head_at if observation.taps else None
    return Greeting(head=head, head_at=head_at)


async def greet_tls(means: Means, settings: OutboundSettings, host: Host, port: int) -> Greeting:
    """Begin a TLS handshake, and accept any certificate."""
    observation = Observation(means.clock)
    connect = _connect(means, settings, TlsSettings(allow_insecure=True), observation)
    with trio.move_on_after(min(means.limit, PATIENCE)):
        with contextlib.suppress(*_FAULTS):
            await (await connect(host, port)).aclose()
    record = observation.record(OutboundLayer.TLS)
    if record is None or record.tls is None:
        return UNKNOWN
    der = record.tls.getpeercert(binary_form=True)
    return Greeting(certificate=str(read_certificate(der)) if der else "no certificate")


def _connect(
    means: Means, settings: OutboundSettings, tls: TlsSettings | None, observation: Observation
) -> Connect:
    """Return what dials an outbound's server with TLS or without, and without a carrier."""
    stream = attrs.evolve(settings.stream, tls=tls, carrier=TcpSettings())
    settings = attrs.evolve(settings, stream=stream)
    around = LayerBuilder(file=means.file, observe=observation.observe).for_outbound(settings)
    return around(Dialler.of(settings, resolve=means.resolve, file=means.file).connect())
