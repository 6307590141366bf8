"""What programs import: a stream through a VMess server, and a whole node in their own nursery."""

import platform
import secrets

import trio

from trio_vmess.config import Config
from trio_vmess.core import Destination
from trio_vmess.core.vmess import (
    V2RAY,
    Account,
    ClientConnection,
    Command,
    Dialect,
    Request,
    Response,
    StreamBody,
    choose_security,
)
from trio_vmess.library.stream import VMessStream
from trio_vmess.node import Node, utc_seconds


async def serve(
    config: Config, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a node until it is stopped or cancelled.

    Args:
        config: from `load_config` or `parse_config`, or built in Python and checked by `validate`.
        task_status: is given the node when all its inbounds listen; `Node.listening` says where.

    Raises:
        OSError: an inbound cannot listen.
    """
    await Node(config).run(task_status=task_status)


async def open_vmess_stream(
    server: tuple[str, int],
    account: Account,
    destination: Destination,
    *,
    security: str = "auto",
    dialect: Dialect = V2RAY,
) -> VMessStream:
    """Connect to a destination through a VMess server.

    Nothing is sent before the first payload, so whether the server takes us shows in the first
    answer.

    Args:
        server: host and port.
        account: as the server knows it.
        destination: where the server is to connect to, by TCP.
        security: a word of `SECURITY_WORDS`.
        dialect: which VMess the server speaks.

    Raises:
        OSError: the server cannot be reached.
        LocalProtocolError: the destination or the security has no legal form.
    """
    body_security, options = choose_security(
        security, machine=platform.machine(), command=Command.TCP, dialect=dialect
    )
    stream = await trio.open_tcp_stream(*server)
    try:
        connection = ClientConnection(entropy=secrets, dialect=dialect)
        header = connection.send(
            Request(
                account=account,
                destination=destination,
                security=body_security,
                options=options,
                timestamp=utc_seconds(),
            )
        )
        body = connection.hand_over_early(_ignore)
        if not isinstance(body, StreamBody):
            raise TypeError("a stream was asked for")
        return VMessStream(stream, body, header, is_request=True)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


def _ignore(_: Response) -> None:
    """A single stream has no use for another port."""
