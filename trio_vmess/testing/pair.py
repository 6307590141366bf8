"""Both ends of a stream, without a server or a socket."""

import secrets
from typing import Final

import trio.testing

from trio_vmess.core.vmess import (
    Account,
    ClientConnection,
    Option,
    ReplayCache,
    Request,
    Response,
    Security,
    ServerConnection,
    StreamBody,
    UserRegistry,
)
from trio_vmess.library import VMessStream
from trio_vmess.opening import DestinationLike, read_destination

_NOW: Final = 1_700_000_000


def vmess_stream_pair(
    destination: DestinationLike = "example.com:443",
) -> tuple[VMessStream, VMessStream]:
    """Return a client's stream and the server's end of it; VMess is spoken in between.

    They are connected in memory, so they work with `trio.testing.MockClock`. Whatever either end
    does is what the other one would see through a server.

    Args:
        destination: what the client asks for.
    """
    account = Account(secrets.token_bytes(16))
    users = UserRegistry([account])
    client = ClientConnection(entropy=secrets)
    server = ServerConnection(users, ReplayCache(window=users.window), entropy=secrets)
    request = Request(
        account=account,
        destination=read_destination(destination),
        security=Security.AES_128_GCM,
        options=Option.CHUNK_STREAM | Option.MASK | Option.PADDING,
        timestamp=_NOW,
    )
    # The request passes by a call, so that the server's end is there before anything is sent.
    server.receive_data(client.send(request), now=_NOW)
    server.next_event()
    response = server.send(Response())
    bodies = client.hand_over_early(_ignore), server.hand_over()
    near, far = trio.testing.memory_stream_pair()
    return VMessStream(near, _stream(bodies[0])), VMessStream(far, _stream(bodies[1]), response)


def _ignore(_: Response) -> None:
    """Nobody connects again."""


def _stream(body: object) -> StreamBody:
    if not isinstance(body, StreamBody):
        raise TypeError("the body of a TCP request is a stream")
    return body
