"""XUDP's global ids: what a client calls a socket that outlives its carriers."""

from trio_vmess.core.crypto import keyed_hash
from trio_vmess.core.mux.frame import GLOBAL_ID_SIZE


def make_global_id(secret: bytes, name: str) -> bytes:
    """Return the 8 bytes that stand for a socket.

    Args:
        secret: 16 to 64 bytes that nobody else knows: ids are neither guessed nor traced back.
        name: tells the socket from all others for which the secret is used.
    """
    return keyed_hash(secret, name.encode(), GLOBAL_ID_SIZE)
