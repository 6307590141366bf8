"""Responses of the proxy's own: for people in front of a program, who see little else."""

import http
from collections.abc import Iterable
from typing import Final

import h11

from trio_vmess.core.mixed import SOCKS4_FIRST_BYTE, SOCKS5_FIRST_BYTE, TLS_FIRST_BYTE

CLOSE: Final = (b"Connection", b"close")
CHALLENGE: Final = (b"Proxy-Authenticate", b'Basic realm="proxy"')

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

NOT_A_WEB_SERVER: Final = (
    "This is the port of an HTTP proxy, not a web server. Enter it as the HTTP proxy of your "
    "program instead of opening it as an address."
)
PASSWORD_NEEDED: Final = "This proxy asks for a user name and a password."  # noqa: S105

_SOCKS_HINT: Final = (
    "this looks like SOCKS: the program's proxy type is probably set to SOCKS, but this inbound "
    "speaks HTTP"
)
FOREIGN_FIRST_BYTES: Final = {
    SOCKS4_FIRST_BYTE: _SOCKS_HINT,
    SOCKS5_FIRST_BYTE: _SOCKS_HINT,
    TLS_FIRST_BYTE: (
        "this looks like TLS: the program's proxy type is probably set to HTTPS, but this inbound "
        "speaks plain HTTP"
    ),
}
"""The explanation for a first byte that no HTTP request begins with."""

_TEXT_SIZE_MAX: Final = 300


def answer(
    status: int, text: str, headers: Iterable[tuple[bytes, bytes]], *, with_body: bool
) -> list[h11.Event]:
    """Return a whole response with `text` as its body.

    Args:
        status: 200 to 999.
        text: the body, cut off where it is long; what cannot be encoded is escaped.
        headers: those besides Content-Type and Content-Length.
        with_body: False for the answer to HEAD, which is a head alone.
    """
    body = f"{shorten(text)}\n".encode(errors="backslashreplace")
    head = h11.Response(
        status_code=status,
        reason=_phrase(status),
        headers=[
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(body)),
            *headers,
        ],
    )
    content = [h11.Data(data=body)] if with_body else []
    return [head, *content, h11.EndOfMessage()]


def shorten(text: str) -> str:
    """Cut off what is too long for an error message: an address may have 64 KiB."""
    return text if len(text) <= _TEXT_SIZE_MAX else text[:_TEXT_SIZE_MAX] + "..."


def describe(error: h11.ProtocolError) -> str:
    """Return h11's message without what it quotes: that may be a header with a password in it."""
    return str(error).partition(": bytearray(")[0]


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
