"""What client and server have in common: two directions, each with a body."""

import abc
from typing import Final, assert_never

from trio_vmess.core.buffer import NEED_DATA, NeedData, ReceiveBuffer
from trio_vmess.core.codec import Codec
from trio_vmess.core.crypto import StreamCipher
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.vmess.body import (
    BodyPlan,
    PacketBody,
    PacketOpener,
    PacketSealer,
    StreamBody,
    build_opener,
    build_sealer,
)
from trio_vmess.core.vmess.dialect import Dialect
from trio_vmess.core.vmess.events import Data, EndOfStream, Event
from trio_vmess.core.vmess.security import BodyKeys
from trio_vmess.core.vmess.state import Phase, Signal, advance
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

RECEIVE_MAX: Final = 1 << 20
"""Bytes that may wait between `receive_data` and `next_event`."""


class Conversation(abc.ABC):
    """The body half of a connection, as events.

    `receive_data` only stores and `next_event` only parses. What the peer does wrong leaves either
    as a `RemoteProtocolError`, and every further `next_event` raises it again. What the caller does
    wrong (bytes after the end of the stream, bytes after a hand-over) is a `LocalProtocolError`.

    Args:
        dialect: which VMess is spoken.
        entropy: for padding and whatever else must be unpredictable.
    """

    def __init__(self, dialect: Dialect, entropy: Entropy) -> None:
        self._dialect = dialect
        self._entropy = entropy
        self._buffer = ReceiveBuffer(RECEIVE_MAX)
        self._failure: RemoteProtocolError | None = None
        self._receiving = Phase.HEADER
        self._sending = Phase.HEADER
        self._boundaries: list[int] | None = None
        self._codec: Codec | None = None
        self._opener: Codec | PacketOpener | None = None
        self._sealer: Codec | PacketSealer | None = None
        self._datagrams: list[bytes] = []

    @property
    def receiving(self) -> Phase:
        """The phase of the peer's direction."""
        return self._receiving

    def receive_eof(self) -> None:
        """Note that the peer has ended its stream; `receive_data(b"")` does the same.

        Raises:
            LocalProtocolError: the body was handed over.
        """
        self._receive(b"")

    def next_event(self) -> Event | NeedData:
        """Return the next event that the received bytes hold, or NEED_DATA.

        After `EndOfStream` it is NEED_DATA for good. An end of the stream that comes where the
        protocol does not allow it is a fault of the peer.

        Raises:
            RemoteProtocolError: the peer broke the protocol.
        """
        if self._failure is not None:
            raise self._failure.copy()
        try:
            match self._receiving:
                case Phase.HEADER:
                    event = self._next_header()
                case Phase.BODY:
                    event = self._next_body()
                case Phase.ENDED | Phase.HANDED_OVER | Phase.FAILED:
                    return NEED_DATA
                case _:
                    assert_never(self._receiving)
        except RemoteProtocolError as exc:
            self._fail(exc)
            raise
        if event is not NEED_DATA:
            self._receiving = advance(self._receiving, event)
        return event

    def hand_over(self) -> StreamBody | PacketBody:
        """Hand over the codecs, with the bytes that are not opened yet.

        From now on the caller feeds the opener and the sealer; both header events must have passed.

        Raises:
            LocalProtocolError: a header is missing, or a direction is over.
        """
        receiving = advance(self._receiving, Signal.HAND_OVER)
        sending = advance(self._sending, Signal.HAND_OVER)
        opener, sealer, trailing = self._opener, self._sealer, self._buffer.take()
        self._receiving, self._sending = receiving, sending
        if isinstance(opener, PacketOpener) and isinstance(sealer, PacketSealer):
            return PacketBody(opener=opener, sealer=sealer, trailing=trailing)
        if isinstance(opener, PacketOpener) or isinstance(sealer, PacketSealer):
            raise TypeError("one direction has datagrams, the other a stream")
        if opener is None or sealer is None:
            raise LocalProtocolError("there is no body yet")
        return StreamBody(opener=opener, sealer=sealer, trailing=trailing)

    @abc.abstractmethod
    def _next_header(self) -> Event | NeedData:
        """Read the peer's header from the buffer and build the opener."""

    def _receive(self, data: bytes | bytearray | memoryview) -> None:
        if self._receiving is Phase.HANDED_OVER:
            raise LocalProtocolError("the body was handed over: feed its opener")
        # Nobody reads on behind the terminator or a fault: what still comes is not worth keeping.
        is_read = self._receiving in (Phase.HEADER, Phase.BODY)
        if is_read or self._buffer.ended or not len(data):
            try:
                self._buffer.append(data)
            except RemoteProtocolError as exc:
                self._fail(exc)
                raise

    def _fail(self, fault: RemoteProtocolError) -> None:
        self._failure = fault.copy()
        self._receiving = advance(self._receiving, Signal.FAULT)
        # The connection may be held open for long: it must not hold what was sent as well.
        self._buffer.clear()

    def _build_opener(self, plan: BodyPlan, keys: BodyKeys, cipher: StreamCipher | None) -> None:
        # The list that tells datagrams apart may be in a packet opener's hands already.
        if plan.framing.packets and self._boundaries is None:
            self._boundaries = []
        codec = build_opener(plan, keys, cipher=cipher, boundaries=self._boundaries)
        self._codec = self._opener = codec
        if self._boundaries is not None:
            self._opener = PacketOpener(codec, self._boundaries if plan.framing.chunked else None)

    def _build_sealer(self, plan: BodyPlan, keys: BodyKeys, cipher: StreamCipher | None) -> None:
        codec, payload_max = build_sealer(plan, keys, self._entropy, cipher=cipher)
        self._sealer = PacketSealer(codec, payload_max) if plan.framing.packets else codec

    def _next_body(self) -> Event | NeedData:
        opener = self._opener
        if opener is None:
            raise LocalProtocolError("there is no body yet")
        data = self._buffer.take()
        if isinstance(opener, PacketOpener):
            if data:
                self._datagrams += opener.open(data)
            if self._datagrams:
                return Data(payload=self._datagrams.pop(0))
            if self._buffer.ended and not opener.ended:
                opener.finalize()
        else:
            if data:
                out = bytearray(opener.output_size(len(data)))
                written = opener.update_into(data, memoryview(out))
                if written:
                    return Data(payload=bytes(out[:written]))
            if self._buffer.ended and not opener.ended:
                opener.finalize_into(memoryview(b""))
        if opener.ended or self._buffer.ended:
            return EndOfStream(explicit=opener.ended)
        return NEED_DATA

    def _send_body(self, event: Data | EndOfStream) -> bytes:
        phase = advance(self._sending, event)
        sealer = self._sealer
        if sealer is None:
            raise LocalProtocolError("there is no body yet")
        if isinstance(sealer, PacketSealer):
            wire = sealer.seal(event.payload) if isinstance(event, Data) else sealer.finalize()
        else:
            payload = event.payload if isinstance(event, Data) else b""
            out = bytearray(sealer.output_size(len(payload)))
            view = memoryview(out)
            if isinstance(event, Data):
                size = sealer.update_into(payload, view)
            else:
                size = sealer.finalize_into(view)
            wire = bytes(view[:size])
        self._sending = phase
        return wire
