"""The client's side of a VMess connection."""

import struct
from collections.abc import Callable
from typing import Final, assert_never

import attrs

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.codec import Codec, PieceCodec
from trio_vmess.core.crypto import StreamCipher, cfb_decryptor
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.vmess.auth import (
    AUTH_ID_RANDOM_SIZE,
    derive_user_hash,
    seal_auth_id,
)
from trio_vmess.core.vmess.body import (
    BodyPlan,
    PacketBody,
    PacketOpener,
    PacketSealer,
    StreamBody,
)
from trio_vmess.core.vmess.constants import (
    AEAD_NONCE_SIZE,
    BODY_IV_SIZE,
    BODY_KEY_SIZE,
    PADDING_MAX,
    TIMESTAMP_JITTER,
    Security,
)
from trio_vmess.core.vmess.conversation import Conversation
from trio_vmess.core.vmess.dialect import V2RAY, Dialect
from trio_vmess.core.vmess.events import Data, EndOfStream, Event, HeaderForm, Request, Response
from trio_vmess.core.vmess.header import (
    RequestHeader,
    encode_request_header,
    encrypt_legacy_header,
    seal_aead_header,
)
from trio_vmess.core.vmess.response import (
    AEAD_RESPONSE_MAX,
    RESPONSE_FIXED_SIZE,
    decode_response_header,
    open_response_header,
    response_header_size,
)
from trio_vmess.core.vmess.security import BodyKeys, choose_framing, derive_response_keys
from trio_vmess.core.vmess.state import Phase, Signal, advance
from trio_vmess.core.vmess.terminator_habit import TerminatorHabit
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

_SECRETS: Final = struct.Struct(
    f">{BODY_IV_SIZE}s{BODY_KEY_SIZE}sBB{PADDING_MAX}s{AUTH_ID_RANDOM_SIZE}s{AEAD_NONCE_SIZE}s"
)
"""Body IV, body key, response authentication, padding length, padding, auth id's random, nonce."""


class ClientConnection(Conversation):
    """One connection to a VMess server, as a state machine.

        conn = ClientConnection(entropy=secrets)
        wire = conn.send(Request(account=..., destination=..., ..., timestamp=now))
        wire += conn.send(Data(payload=b"..."))
        conn.receive_data(answer)
        while (event := conn.next_event()) is not NEED_DATA: ...

    The response header comes with the first data of the answer and not earlier, so a client sends
    its body at once.

    Args:
        entropy: where keys, padding and jitter come from.
        dialect: which VMess to speak.
        jitter: by how many seconds a legacy timestamp may be off: it is drawn from -jitter to
            jitter - 1. 0 is for sing-box, which knows few past seconds.
        sends_terminator: False leaves out the empty chunk that closes the body, so that only the
            connection's end tells the server; Xray calls it NoTerminationSignal.
    """

    def __init__(
        self,
        *,
        entropy: Entropy,
        dialect: Dialect = V2RAY,
        jitter: int = TIMESTAMP_JITTER,
        sends_terminator: bool = True,
    ) -> None:
        super().__init__(dialect, entropy)
        self._jitter = jitter
        self._sends_terminator = sends_terminator
        self._plan: BodyPlan | None = None
        self._aead = True
        self._response_auth = 0
        self._response_keys = BodyKeys(key=b"", iv=b"")
        self._legacy_cipher: StreamCipher | None = None
        self._legacy_fixed = b""

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the server sent; no bytes mean the same as `receive_eof`.

        Raises:
            RemoteProtocolError: more than a mebibyte waits unparsed.
            LocalProtocolError: the stream has ended, or the body was handed over.
        """
        self._receive(data)

    def send(self, event: Event) -> bytes:
        """Return the bytes of `event`.

        Raises:
            LocalProtocolError: the event is not allowed now, or has no legal form on the wire.
        """
        match event:
            case Request():
                phase = advance(self._sending, event)
                wire = self._encode_request(event)
                self._sending = phase
                return wire
            case Data() | EndOfStream():
                return self._send_body(event)
            case Response():
                raise LocalProtocolError("only a server sends a Response")
            case _:
                assert_never(event)

    def hand_over_early(
        self, on_response: Callable[[Response], None], *, habit: TerminatorHabit | None = None
    ) -> StreamBody | PacketBody:
        """Hand over the codecs right after the request, before the server has answered.

        The opener then reads the response header itself, whenever it comes.

        Args:
            on_response: is called once with the header, during `update_into`.
            habit: what is known of the server: a body that is cut between two chunks is a
                `RemoteProtocolError` then. None takes every end between chunks for the end.

        Raises:
            LocalProtocolError: no request was sent, or the response has begun.
        """
        phase = advance(self._sending, Signal.HAND_OVER)
        if self._receiving is not Phase.HEADER:
            raise LocalProtocolError("the response has begun: use hand_over")
        if self._plan is None:
            raise LocalProtocolError("there is no body yet")
        sealer, trailing = self._sealer, self._buffer.take()
        self._sending = phase
        self._boundaries = [] if self._plan.framing.packets else None
        opener = ResponseOpener(self, on_response, habit if self._plan.framing.terminated else None)
        if isinstance(sealer, PacketSealer):
            boundaries = self._boundaries if self._plan.framing.chunked else None
            return PacketBody(
                opener=PacketOpener(opener, boundaries), sealer=sealer, trailing=trailing
            )
        if sealer is None:
            raise LocalProtocolError("there is no body yet")
        return StreamBody(opener=opener, sealer=sealer, trailing=trailing)

    def read_response(
        self, data: bytes | bytearray | memoryview
    ) -> tuple[Response, Codec, bytes] | NeedData:
        """Read the response header after an early hand-over; `ResponseOpener` calls it.

        Returns:
            The header, the codec of the body and what is left for it; or NEED_DATA.

        Raises:
            RemoteProtocolError: as `next_event`.
        """
        self._receive(data)
        event = self.next_event()
        if event is NEED_DATA:
            return NEED_DATA
        if not isinstance(event, Response) or self._codec is None:
            raise LocalProtocolError("the response header was already read")
        self._receiving = advance(self._receiving, Signal.HAND_OVER)
        return event, self._codec, self._buffer.take()

    def _encode_request(self, event: Request) -> bytes:
        account, entropy, dialect = event.account, self._entropy, self._dialect
        # All random bytes at once: each call asks the operating system.
        body_iv, body_key, response_auth, padding_number, padding, auth_random, nonce = (
            _SECRETS.unpack(entropy.token_bytes(_SECRETS.size))
        )
        keys = BodyKeys(iv=body_iv, key=body_key)
        header = RequestHeader(
            body_iv=body_iv,
            body_key=body_key,
            response_auth=response_auth,
            options=event.options,
            security=event.security,
            command=event.command,
            destination=event.destination,
            padding=padding[: padding_number % (PADDING_MAX + 1)],
        )
        plain = encode_request_header(header, dialect)
        self._aead = dialect.has_aead_header and not account.alter_id_count
        if event.form is not None and event.form is not self._form:
            raise LocalProtocolError(
                f"form: the account's alterId and the dialect call for {self._form.value}"
            )
        if self._aead:
            auth_id = seal_auth_id(account.auth_id_key, event.timestamp, auth_random)
            wire = seal_aead_header(plain, account.cmd_key, auth_id, nonce)
        else:
            timestamp = event.timestamp
            if self._jitter:
                timestamp += entropy.randbelow(2 * self._jitter) - self._jitter
            authenticating_id = account.user_id
            if account.alter_ids and not dialect.main_id_authenticates:
                authenticating_id = account.alter_ids[entropy.randbelow(account.alter_id_count)]
            wire = derive_user_hash(authenticating_id, timestamp)
            wire += encrypt_legacy_header(plain, account.cmd_key, timestamp)
        self._response_auth = response_auth
        self._response_keys = derive_response_keys(keys, aead_header=self._aead)
        self._plan = BodyPlan(
            security=event.security,
            framing=choose_framing(event.options, event.security, event.command, dialect),
            request=keys,
            dialect=dialect,
        )
        self._build_sealer(self._sealing_plan(self._plan), keys, None)
        return wire

    def _sealing_plan(self, plan: BodyPlan) -> BodyPlan:
        if self._sends_terminator:
            return plan
        return attrs.evolve(plan, framing=attrs.evolve(plan.framing, terminated=False))

    @property
    def _form(self) -> HeaderForm:
        return HeaderForm.AEAD if self._aead else HeaderForm.LEGACY

    def _next_header(self) -> Event | NeedData:
        if self._plan is None:
            if len(self._buffer) or self._buffer.ended:
                raise RemoteProtocolError("the server sent data before the request")
            return NEED_DATA
        plain = self._read_aead() if self._aead else self._read_legacy()
        if plain is NEED_DATA:
            if self._buffer.ended:
                raise RemoteProtocolError(
                    "the server closed the connection without an answer: it refused the request "
                    "(user id, clock), or could not reach the destination"
                )
            return NEED_DATA
        header = decode_response_header(plain, self._response_auth, self._dialect)
        # A CFB body behind a legacy header continues the header's stream; an AEAD header has none.
        is_cfb = self._plan.security is Security.AES_128_CFB
        self._build_opener(self._plan, self._response_keys, self._legacy_cipher if is_cfb else None)
        return Response(options=header.options, switch_account=header.switch_account)

    def _read_aead(self) -> bytes | NeedData:
        opened = open_response_header(self._buffer.peek(AEAD_RESPONSE_MAX), self._response_keys)
        if opened is NEED_DATA:
            return NEED_DATA
        plain, size = opened
        self._buffer.take(size)
        return plain

    def _read_legacy(self) -> bytes | NeedData:
        if not self._legacy_fixed:
            if len(self._buffer) < RESPONSE_FIXED_SIZE:
                return NEED_DATA
            keys = self._response_keys
            self._legacy_cipher = cfb_decryptor(keys.key, keys.iv)
            self._legacy_fixed = self._legacy_cipher.update(self._buffer.take(RESPONSE_FIXED_SIZE))
            if self._legacy_fixed[0] != self._response_auth:
                raise RemoteProtocolError(
                    "response authentication: this is not the answer to our request"
                )
        missing = response_header_size(self._legacy_fixed) - RESPONSE_FIXED_SIZE
        if len(self._buffer) < missing or self._legacy_cipher is None:
            return NEED_DATA
        return self._legacy_fixed + self._legacy_cipher.update(self._buffer.take(missing))


class ResponseOpener:
    """An opener that starts before the response header has come.

    Args:
        connection: knows how to read the header.
        on_response: is called with it.
        habit: what is known of the server, if it may be expected to send a terminator.
    """

    def __init__(
        self,
        connection: ClientConnection,
        on_response: Callable[[Response], None],
        habit: TerminatorHabit | None,
    ) -> None:
        self._habit = habit
        self._connection = connection
        self._on_response = on_response
        self._codec: Codec | None = None
        self._waiting = 0

    @property
    def ended(self) -> bool:
        """True once the body has ended."""
        if self._codec is None or not self._codec.ended:
            return False
        if self._habit is not None:
            self._habit.note_terminator()
        return True

    @property
    def piecewise(self) -> PieceCodec | None:
        """See `Codec.piecewise`: that of the body, once the header has come."""
        return None if self._codec is None else self._codec.piecewise

    def output_size(self, size: int, /) -> int:
        """See `Codec.output_size`: opening never makes more bytes."""
        if self._codec is None:
            return size + self._waiting
        return self._codec.output_size(size)

    def update_into(self, data: bytes | bytearray | memoryview, out: memoryview, /) -> int:
        """See `Codec.update_into`."""
        if self._codec is None:
            if not len(data):
                return 0
            self._waiting += len(data)
            answer = self._connection.read_response(data)
            if answer is NEED_DATA:
                return 0
            response, self._codec, data = answer
            self._on_response(response)
        return self._codec.update_into(data, out)

    def finalize_into(self, out: memoryview, /) -> int:
        """See `Codec.finalize_into`; an end before the header is an error."""
        if self._codec is None:
            self._connection.read_response(b"")
            return 0
        size = self._codec.finalize_into(out)
        if self._habit is not None and not self.ended and self._habit.is_missed():
            raise RemoteProtocolError(
                "the server closed the connection before the end of the body: it was stopped, or "
                "something between has cut the connection"
            )
        return size
