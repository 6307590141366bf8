"""The server's side of a VMess connection."""

from typing import Final, assert_never

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.crypto import cfb_encryptor
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import check_timestamp
from trio_vmess.core.vmess.body import BodyPlan
from trio_vmess.core.vmess.constants import AUTH_SIZE, REQUEST_HEADER_MAX, Security
from trio_vmess.core.vmess.conversation import Conversation
from trio_vmess.core.vmess.diagnosis import diagnose
from trio_vmess.core.vmess.dialect import V2RAY, Dialect
from trio_vmess.core.vmess.events import Data, EndOfStream, Event, HeaderForm, Request, Response
from trio_vmess.core.vmess.header import (
    AEAD_REQUEST_MAX,
    FIXED_SIZE,
    RequestHeader,
    decode_request_header,
    decrypt_legacy_header,
    open_aead_header,
)
from trio_vmess.core.vmess.legacy_table import NOT_READY
from trio_vmess.core.vmess.replay import ReplayCache, legacy_key, session_key
from trio_vmess.core.vmess.response import (
    ResponseHeader,
    encode_response_header,
    seal_response_header,
)
from trio_vmess.core.vmess.security import BodyKeys, choose_framing, derive_response_keys
from trio_vmess.core.vmess.state import advance
from trio_vmess.core.vmess.users import AuthMatch, UserRegistry
from trio_vmess.errors import (
    AuthenticationError,
    LocalProtocolError,
    Refusal,
    RemoteProtocolError,
)

_RECOGNISABLE: Final = 64
"""Bytes that suffice to tell the protocols that arrive by mistake from one another."""

_LEGACY_REQUEST_MAX: Final = AUTH_SIZE + REQUEST_HEADER_MAX


class ServerConnection(Conversation):
    """One connection from a VMess client, as a state machine.

        conn = ServerConnection(users, replay, entropy=secrets)
        conn.receive_data(data, now=now)
        while (event := conn.next_event()) is not NEED_DATA: ...
        wire = conn.send(Response()) + conn.send(Data(payload=b"..."))

    A request that does not authenticate raises `AuthenticationError`, and one that does but asks
    for something illegal another `RemoteProtocolError`. On the wire both should look the same:
    read on in silence, answer nothing.

    A legacy request that comes before its second is in the registry's table is neither believed nor
    refused: `next_event` returns NEED_DATA, and `awaits_table` is True. The caller goes on reading,
    and asks again with `retry` when `UserRegistry.call_when_grown` has called.

    Args:
        users: those who are admitted.
        replay: the requests so far; shared by all connections.
        entropy: where padding comes from.
        dialect: which VMess is spoken.
        source: the client's address, as a hint for the search among many users.
        allow_insecure: False refuses the securities none and aes-128-cfb.
    """

    def __init__(
        self,
        users: UserRegistry,
        replay: ReplayCache,
        *,
        entropy: Entropy,
        dialect: Dialect = V2RAY,
        source: str | None = None,
        allow_insecure: bool = True,
    ) -> None:
        super().__init__(dialect, entropy)
        self._users = users
        self._replay = replay
        self._source = source
        self._allow_insecure = allow_insecure
        self._now = 0
        self._match: AuthMatch | None = None
        self._unaccepted: AuthMatch | None = None
        self._awaits_table = False
        self._form = HeaderForm.AEAD
        self._plan: BodyPlan | None = None
        self._response_auth = 0
        self._response_keys = BodyKeys(key=b"", iv=b"")

    def receive_data(self, data: bytes | bytearray | memoryview, *, now: int) -> None:
        """Store what the client sent.

        Args:
            data: any number of bytes; none means the same as `receive_eof`.
            now: UTC seconds.

        Raises:
            RemoteProtocolError: more than a mebibyte waits unparsed.
            LocalProtocolError: the stream has ended, the body was handed over, or `now` does not
                fit 64 bits.
        """
        self._now = check_timestamp(now)
        self._receive(data)

    @property
    def awaits_table(self) -> bool:
        """Whether NEED_DATA meant that the registry has to build more of its legacy table."""
        return self._awaits_table

    def retry(self, *, now: int) -> Event | NeedData:
        """Return what `next_event` returns, when there may be more of the legacy table.

        Args:
            now: UTC seconds.

        Raises:
            RemoteProtocolError: as `next_event`.
            LocalProtocolError: `now` does not fit 64 bits.
        """
        self._now = check_timestamp(now)
        return self.next_event()

    def send(self, event: Event) -> bytes:
        """Return the bytes of `event`.

        Raises:
            LocalProtocolError: the event is not allowed now, or has no legal form on the wire.
        """
        match event:
            case Response():
                phase = advance(self._sending, event)
                wire = self._encode_response(event)
                self._sending = phase
                return wire
            case Data() | EndOfStream():
                return self._send_body(event)
            case Request():
                raise LocalProtocolError("only a client sends a Request")
            case _:
                assert_never(event)

    def _next_header(self) -> Event | NeedData:
        match = self._match
        if match is None:
            if len(self._buffer) < AUTH_SIZE:
                if self._buffer.ended:
                    raise self._truncated()
                return NEED_DATA
            found = self._authenticate(self._buffer.peek(AUTH_SIZE))
            if found is NEED_DATA:
                return NEED_DATA
            match = found
        read = self._read_aead if self._form is HeaderForm.AEAD else self._read_legacy
        try:
            decoded = read(match)
        except AuthenticationError as exc:
            self._taint()
            raise self._refuse(str(exc), exc.reason) from None
        if decoded is NEED_DATA:
            if self._buffer.ended:
                # A probe learns nothing from less than the fixed part of a header.
                if len(self._buffer) >= AUTH_SIZE + FIXED_SIZE:
                    self._taint()
                raise self._truncated()
            return NEED_DATA
        header, auth = decoded
        self._admit(match, header, auth)
        if self._source is not None:
            self._users.remember(self._source, match.account)
        self._start_body(header)
        return Request(
            account=match.account,
            destination=header.destination,
            command=header.command,
            security=header.security,
            options=header.options,
            timestamp=match.timestamp,
            form=self._form,
        )

    def _authenticate(self, auth: bytes) -> AuthMatch | NeedData:
        """Find the user: as an AEAD header first, then as a legacy one."""
        users, now = self._users, self._now
        if not self._awaits_table:
            found = users.find_auth_id(auth, now=now, source=self._source)
            speaks_aead = self._dialect.has_aead_header
            if speaks_aead and found is not None and users.accepts(found.timestamp, now):
                self._match = found
                return found
            self._form = HeaderForm.LEGACY
            self._unaccepted = found
        match = users.find_user_hash(auth, now=now)
        self._awaits_table = match is NOT_READY
        if match is NOT_READY:
            # Who hangs up is let go now, as every stranger is.
            if self._buffer.ended:
                raise self._truncated()
            return NEED_DATA
        if match is None:
            raise diagnose(
                self._buffer.peek(_RECOGNISABLE), users, now=now, match=self._unaccepted
            ).error()
        self._match = match
        if self._replay.is_tainted(auth):
            raise self._refuse("the user hash was used for a broken header before", Refusal.TAINTED)
        return match

    def _read_aead(self, match: AuthMatch) -> tuple[RequestHeader, bytes] | NeedData:
        opened = open_aead_header(self._buffer.peek(AEAD_REQUEST_MAX), match.account.cmd_key)
        if opened is NEED_DATA:
            return NEED_DATA
        plain, size = opened
        decoded = decode_request_header(plain, self._dialect)
        if decoded is NEED_DATA:
            raise AuthenticationError("header: too short", reason=Refusal.BAD_HEADER)
        return decoded[0], self._buffer.take(size)[:AUTH_SIZE]

    def _read_legacy(self, match: AuthMatch) -> tuple[RequestHeader, bytes] | NeedData:
        data = self._buffer.peek(_LEGACY_REQUEST_MAX)
        plain = decrypt_legacy_header(data[AUTH_SIZE:], match.account.cmd_key, match.timestamp)
        decoded = decode_request_header(plain, self._dialect)
        if decoded is NEED_DATA:
            return NEED_DATA
        header, size = decoded
        return header, self._buffer.take(AUTH_SIZE + size)[:AUTH_SIZE]

    def _admit(self, match: AuthMatch, header: RequestHeader, auth: bytes) -> None:
        """Remember an authentic request; refuse it if it was seen before."""
        key = auth
        if self._form is HeaderForm.LEGACY:
            key = legacy_key(auth, header.body_key, header.body_iv)
        if not self._replay.admit(
            key=key,
            session=session_key(match.account.user_id, header.body_key, header.body_iv),
            timestamp=match.timestamp,
            now=self._now,
        ):
            if self._form is HeaderForm.LEGACY:
                self._replay.taint(auth, timestamp=match.timestamp)
            message = "the request was sent before"
            if self._replay.is_forgotten(match.timestamp):
                message = "the clock was set back, and requests of that time are not remembered"
            raise self._refuse(message, Refusal.REPLAY)

    def _start_body(self, header: RequestHeader) -> None:
        if not self._allow_insecure and not header.security.is_aead:
            raise RemoteProtocolError(
                f"security: {header.security.word} is not allowed on this inbound"
            )
        keys = BodyKeys(key=header.body_key, iv=header.body_iv)
        self._plan = BodyPlan(
            security=header.security,
            framing=choose_framing(header.options, header.security, header.command, self._dialect),
            request=keys,
            dialect=self._dialect,
        )
        self._response_auth = header.response_auth
        self._response_keys = derive_response_keys(keys, aead_header=self._form is HeaderForm.AEAD)
        self._build_opener(self._plan, keys, None)

    def _encode_response(self, event: Response) -> bytes:
        if self._plan is None:
            raise LocalProtocolError("a Response needs a Request before it")
        keys = self._response_keys
        plain = encode_response_header(
            ResponseHeader(
                response_auth=self._response_auth,
                options=event.options,
                switch_account=event.switch_account,
            ),
            self._dialect,
        )
        if self._form is HeaderForm.AEAD:
            self._build_sealer(self._plan, keys, None)
            return seal_response_header(plain, keys)
        cipher = cfb_encryptor(keys.key, keys.iv)
        wire = cipher.update(plain)
        # A CFB body continues the stream of its header.
        is_cfb = self._plan.security is Security.AES_128_CFB
        self._build_sealer(self._plan, keys, cipher if is_cfb else None)
        return wire

    def _taint(self) -> None:
        """Refuse a legacy user hash from now on: it was used for what looks like a probe."""
        if self._form is HeaderForm.LEGACY and self._match is not None:
            self._replay.taint(self._buffer.peek(AUTH_SIZE), timestamp=self._match.timestamp)

    def _refuse(self, message: str, reason: Refusal) -> AuthenticationError:
        account: Account | None = self._match.account if self._match else None
        return AuthenticationError(message, reason=reason, user=account.name if account else None)

    def _truncated(self) -> AuthenticationError:
        return self._refuse(f"the request ended after {len(self._buffer)} bytes", Refusal.TRUNCATED)
