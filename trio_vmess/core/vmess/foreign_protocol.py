"""Which other protocol a connection begins with: those that end up on a VMess port by mistake."""

from typing import Final

_HTTP_METHODS: Final = tuple(
    method + b" "
    for method in (
        *(b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"),
        *(b"PROPFIND", b"PRI"),
    )
)
_PROXY_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"


def _is_tls(data: bytes) -> bool:
    # RFC 8446 section 5.1: handshake record, version 3.x, length; then handshake type 1.
    return len(data) >= 6 and data[0] == 22 and data[1] == 3 and data[2] <= 4 and data[5] == 1


def _is_socks5(data: bytes) -> bool:
    # RFC 1928 section 3: the greeting is version, count, methods; then the client waits, or sends
    # its request (version 5) or a password (version 1 of RFC 1929) without waiting.
    if len(data) < 3 or data[0] != 5 or data[1] == 0:
        return False
    rest = data[2 + data[1] :]
    return (not rest and len(data) == 2 + data[1]) or rest[:1] in (b"\x01", b"\x05")


def _is_socks4(data: bytes) -> bool:
    # Version, command 1 or 2, port, IPv4 address, a name that ends with NUL.
    if len(data) < 9 or data[0] != 4 or data[1] not in (1, 2):
        return False
    name, end, _ = data[8:].partition(b"\0")
    return bool(end) and (not name or (name.isascii() and name.decode("ascii").isprintable()))


def recognise(first_bytes: bytes) -> str | None:
    """Name the protocol that a connection begins with, if it is one that often arrives by mistake.

    Args:
        first_bytes: what has come so far; 16 bytes suffice for all.

    Returns:
        A phrase that fits after "this is"; None for what may be VMess.
    """
    if _is_tls(first_bytes):
        return "a TLS ClientHello"
    if first_bytes.startswith(_HTTP_METHODS):
        return "an HTTP request"
    if first_bytes.startswith(b"SSH-"):
        return "an SSH banner"
    if first_bytes.startswith(b"PROXY "):
        return "a PROXY protocol v1 header"
    if first_bytes.startswith(_PROXY_V2_SIGNATURE):
        return "a PROXY protocol v2 header"
    if _is_socks5(first_bytes):
        return "a SOCKS5 greeting"
    if _is_socks4(first_bytes):
        return "a SOCKS4 request"
    return None


ADVICE: Final = {
    "a TLS ClientHello": "this inbound does not speak TLS; turn it off at the client",
    "a PROXY protocol v1 header": "configure the load balancer in front not to send it",
    "a PROXY protocol v2 header": "configure the load balancer in front not to send it",
}
"""What to do about each of them, where there is more to say than that the port is the wrong one."""
