"""The request that opens a connection, and the codecs of what follows it."""

import platform

import attrs

from trio_vmess.config import Experiment
from trio_vmess.core import Destination, Entropy
from trio_vmess.core.vmess import (
    Account,
    ClientConnection,
    Command,
    Option,
    PacketBody,
    Request,
    Response,
    StreamBody,
    choose_security,
)
from trio_vmess.opening.arguments import Server


@attrs.frozen(kw_only=True)
class StreamOpening:
    """The beginning of a stream.

    Attributes:
        header: sealed, and to be sent with the first payload.
        body: the codecs.
        says_end: whether the sealer writes an end that the server can tell from a lost connection.
    """

    header: bytes = attrs.field(repr=False)
    body: StreamBody
    says_end: bool


def begin_stream(
    server: Server, destination: Destination, *, now: int, entropy: Entropy
) -> StreamOpening:
    """Begin a stream to a destination.

    Args:
        server: from `read_server`.
        destination: reached by TCP.
        now: UTC seconds.
        entropy: where keys and padding come from.

    Raises:
        LocalProtocolError: the destination has no legal form in VMess.
    """
    header, body, options = _begin(server, destination, Command.TCP, now, entropy)
    if not isinstance(body, StreamBody):
        raise TypeError("the body of a TCP request is a stream")
    says_end = bool(options & Option.CHUNK_STREAM) and _sends_terminator(server)
    return StreamOpening(header=header, body=body, says_end=says_end)


def begin_datagrams(
    server: Server, destination: Destination, *, now: int, entropy: Entropy
) -> tuple[bytes, PacketBody]:
    """Begin a stream of datagrams to a destination.

    Args:
        server: from `read_server`.
        destination: reached by UDP.
        now: UTC seconds.
        entropy: where keys and padding come from.

    Returns:
        The header, and the codecs; the sealer takes what the server takes in one piece.

    Raises:
        LocalProtocolError: the destination has no legal form in VMess.
    """
    header, body, _ = _begin(server, destination, Command.UDP, now, entropy)
    if not isinstance(body, PacketBody):
        raise TypeError("the body of a UDP request is datagrams")
    body.sealer.restrict(server.vmess.packet_size)
    return header, body


def _begin(
    server: Server, destination: Destination, command: Command, now: int, entropy: Entropy
) -> tuple[bytes, StreamBody | PacketBody, int]:
    """Return header, codecs and options."""
    user, vmess = server.user, server.vmess
    security, options = choose_security(
        user.security.value,
        machine=platform.machine(),
        command=command,
        dialect=vmess.dialect,
        padding=vmess.global_padding,
        authenticated_length=vmess.authenticated_length
        or Experiment.AUTHENTICATED_LENGTH in user.experiments,
    )
    connection = ClientConnection(
        entropy=entropy,
        dialect=vmess.dialect,
        jitter=vmess.timestamp_jitter,
        sends_terminator=_sends_terminator(server),
    )
    header = connection.send(
        Request(
            account=Account(user.id, alter_id_count=user.alter_id),
            destination=destination,
            command=command,
            security=security,
            options=options,
            timestamp=now,
        )
    )
    return header, connection.hand_over_early(_ignore_response), options


def _sends_terminator(server: Server) -> bool:
    return Experiment.NO_TERMINATION_SIGNAL not in server.user.experiments


def _ignore_response(_: Response) -> None:
    """The offer of another port is for clients that will connect again; one stream will not."""
