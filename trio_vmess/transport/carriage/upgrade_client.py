"""WebSocket and HTTPUpgrade around what dials servers."""

from collections.abc import Callable, Iterator
from typing import Final

import attrs
import trio

from trio_vmess.contracts import Connect, Transport
from trio_vmess.core import NEED_DATA, Entropy, Host, format_endpoint
from trio_vmess.core.carriage.upgrade import (
    NotSwitched,
    UpgradeClient,
    UpgradeKind,
    UpgradeRequest,
)
from trio_vmess.core.carriage.websocket import FrameReader, FrameWriter, draw_mask_keys
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError
from trio_vmess.transport.carriage.websocket import FrameBuffer, WebSocketTransport
from trio_vmess.transport.layer import TransportLayer
from trio_vmess.transport.prefixed import PrefixedTransport

READ_SIZE: Final = 16 * 1024
"""Bytes that one read of the answer's head takes at most."""


@attrs.define(eq=False, kw_only=True)
class UpgradeConnect:
    """Dials servers and opens tunnels to them: a `Connect`.

    Attributes:
        connect: dials, and starts TLS where it is wanted.
        request_for: returns what to ask the server at a host and port for.
        entropy: source of keys and masks.
        buffer: shared by all WebSockets of this Trio run.
        early_size: bytes of the stream that are sent with the request; 0 for none. The request
            then waits for the first bytes, and the answer is not waited for.
        is_eager: whether to send before the answer has come.
        next_heartbeat: see `WebSocketTransport`.
    """

    connect: Connect
    request_for: Callable[[Host, int], UpgradeRequest]
    entropy: Entropy
    buffer: FrameBuffer
    early_size: int = 0
    is_eager: bool = False
    next_heartbeat: Callable[[], float] | None = None
    _mask_keys: Iterator[bytes] = attrs.field(
        default=attrs.Factory(lambda self: draw_mask_keys(self.entropy), takes_self=True),
        init=False,
    )

    async def __call__(self, host: Host, port: int) -> Transport:
        """Dial; see `Connect`.

        Raises:
            DialError: the server cannot be reached, or does not open the tunnel.
        """
        request = self.request_for(host, port)
        below = await self.connect(host, port)
        try:
            if self.early_size or self.is_eager:
                return EarlyTunnel(
                    below, lambda early: self._begin(below, request, early), size=self.early_size
                )
            client = UpgradeClient(request, entropy=self.entropy)
            await below.send_all(client.data_to_send())
            await receive_answer(client, below)
            return self._tunnel(below, request.kind, client.trailing_data)
        except (RemoteProtocolError, trio.BrokenResourceError) as exc:
            await below.aclose()
            raise DialError(
                f"{format_endpoint(host, port)}: {request.kind.value}: {exc}",
                reason=DialFailure.PARENT_PROXY,
            ) from None
        except BaseException:
            await below.aclose()
            raise

    def _begin(
        self, below: Transport, request: UpgradeRequest, early: bytes
    ) -> tuple[bytes, Transport]:
        """Return the request with the first bytes of the stream, and the tunnel behind it."""
        client = UpgradeClient(request, entropy=self.entropy, early_data=early)
        data = client.data_to_send()
        holds_back = request.kind is UpgradeKind.WEBSOCKET
        answered = AnswerFirst(below, client, holds_back=holds_back)
        return data, self._tunnel(answered, request.kind)

    def _tunnel(self, below: Transport, kind: UpgradeKind, trailing: bytes = b"") -> Transport:
        if kind is UpgradeKind.HTTP_UPGRADE:
            return PrefixedTransport(below, trailing) if trailing else below
        return WebSocketTransport(
            below,
            FrameReader(masked=False),
            FrameWriter(self._mask_keys),
            buffer=self.buffer,
            trailing=trailing,
            next_heartbeat=self.next_heartbeat,
        )


async def receive_answer(client: UpgradeClient, transport: Transport) -> None:
    """Read the answer to a request until the tunnel is open.

    Raises:
        RemoteProtocolError: it is not opened; the text says what to look at.
        trio.BrokenResourceError: the connection was reset.
    """
    buffer = memoryview(bytearray(READ_SIZE))
    while (event := client.next_event()) is NEED_DATA:
        size = await transport.receive_into(buffer)
        client.receive_data(buffer[:size])
    if isinstance(event, NotSwitched):
        raise RemoteProtocolError(str(event))


class AnswerFirst(TransportLayer):
    """A connection on which the answer to a request comes first, whenever that is: a `Transport`.

    Args:
        transport: owned by this one from now on.
        client: has made the request.
        holds_back: whether to send nothing before the answer has come. The libraries of Xray and
            sing-box end a WebSocket that has bytes behind its request.
    """

    __slots__ = ("_client", "_fault", "_holds_back", "_turn")

    def __init__(self, transport: Transport, client: UpgradeClient, *, holds_back: bool) -> None:
        super().__init__(transport)
        self._client: UpgradeClient | None = client
        self._holds_back = holds_back
        self._fault: RemoteProtocolError | None = None
        self._turn = trio.Lock()

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: the tunnel was not opened.
        """
        if self._client is not None:
            await self._await_answer()
        return await self._transport.receive_into(buffer)

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`.

        Raises:
            trio.BrokenResourceError: the connection was reset, or the tunnel was not opened.
        """
        if self._holds_back and self._client is not None:
            # Copied, because waiting is a checkpoint.
            data = bytes(data)
            try:
                await self._await_answer()
            except RemoteProtocolError as exc:
                raise trio.BrokenResourceError(str(exc)) from None
        await self._transport.send_all(data)

    async def _await_answer(self) -> None:
        """Read the answer; whoever of the sender and the receiver comes first does it for both."""
        async with self._turn:
            if self._fault is not None:
                raise self._fault.copy() from None
            if (client := self._client) is None:
                return
            try:
                await receive_answer(client, self._transport)
            except RemoteProtocolError as exc:
                self._fault = exc.copy()
                raise
            self._client = None
            if trailing := client.trailing_data:
                self._transport = PrefixedTransport(self._transport, trailing)


class EarlyTunnel(TransportLayer):
    """A tunnel whose request is sent with the first bytes of the stream: a `Transport`.

    Args:
        transport: the connection; owned by this one from now on.
        begin: returns the request with the first bytes in it, and the tunnel for the others.
        size: how many bytes go into the request at most.
    """

    __slots__ = ("_begin", "_begun", "_size", "_tunnel")

    def __init__(
        self,
        transport: Transport,
        begin: Callable[[bytes], tuple[bytes, Transport]],
        *,
        size: int,
    ) -> None:
        super().__init__(transport)
        self._begin = begin
        self._size = size
        self._begun = trio.Event()
        self._tunnel: Transport | None = None

    async def receive_into(self, buffer: memoryview, /) -> int:
        """See `Transport.receive_into`; waits for the first bytes to be sent.

        Raises:
            trio.BrokenResourceError: the connection was reset.
            RemoteProtocolError: the tunnel was not opened.
        """
        while self._tunnel is None:
            await self._begun.wait()
        return await self._tunnel.receive_into(buffer)

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        """See `Transport.send_all`."""
        if self._tunnel is not None:
            await self._tunnel.send_all(data)
            return
        # Copied, because sending the request is a checkpoint.
        rest = bytes(data)
        early, rest = rest[: self._size], rest[self._size :]
        request, self._tunnel = self._begin(early)
        await self._transport.send_all(request)
        self._begun.set()
        if rest:
            await self._tunnel.send_all(rest)

    async def send_eof(self, last: bytes | memoryview = b"", /) -> None:
        """See `Transport.send_eof`."""
        if self._tunnel is None:
            await self.send_all(last)
            last = b""
        if self._tunnel is not None:
            await self._tunnel.send_eof(last)
