"""The client's side of SOCKS5: a program, or a proxy in front of another one.

Theory of operation. One parser for each state, as in `server`:

    METHOD [-> PASSWORD] -> REPLY -> OPEN
    any ----> REFUSED

The shell loops: it sends `data_to_send`, asks `next_event`, and gives what comes to `receive_data`.
No message is sent before the one before it was answered: some servers lose what comes early. After
a `Reply` that says SUCCEEDED nothing more is parsed; `trailing_data` are the tunnel's first bytes.

What is not done: GSSAPI, BIND, SOCKS4.
"""

import enum
from typing import Final, NoReturn, assert_never

from trio_vmess.core.buffer import NEED_DATA, NeedData, ReceiveBuffer
from trio_vmess.core.destination import Destination, Network
from trio_vmess.core.socks.address import decode_address, encode_address
from trio_vmess.core.socks.constants import (
    PASSWORD_ACCEPTED,
    PASSWORD_VERSION,
    RECEIVE_LIMIT,
    SOCKS5_VERSION,
    Command,
    Method,
    ReplyCode,
)
from trio_vmess.core.socks.events import Reply
from trio_vmess.errors import RemoteProtocolError

_ADDRESS_OFFSET: Final = 3
_REPLY_SIZE_MAX: Final = 4 + 1 + 255 + 2
_CREDENTIAL_SIZE_MAX: Final = 255


class _State(enum.Enum):
    METHOD = enum.auto()
    PASSWORD = enum.auto()
    REPLY = enum.auto()
    OPEN = enum.auto()
    REFUSED = enum.auto()


class SocksClient:
    """One conversation with a SOCKS5 server, up to the moment the tunnel is open.

    Args:
        command: CONNECT or UDP_ASSOCIATE.
        destination: where to; for UDP_ASSOCIATE, where datagrams will come from, or zeros.
        user: None offers no password.
        password: goes with `user`.

    Raises:
        ValueError: user or password is empty or longer than 255 bytes, or the destination cannot be
            written.
    """

    def __init__(
        self,
        *,
        command: Command,
        destination: Destination,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self._credentials = None if user is None else _encode_credentials(user, password or "")
        self._request = bytes([SOCKS5_VERSION, command, 0]) + encode_address(
            destination.host, destination.port
        )
        self._network = Network.UDP if command is Command.UDP_ASSOCIATE else Network.TCP
        self._buffer = ReceiveBuffer(RECEIVE_LIMIT)
        self._state = _State.METHOD
        self._refusal: RemoteProtocolError | None = None
        methods = [Method.NO_AUTHENTICATION]
        if self._credentials is not None:
            methods.append(Method.USERNAME_PASSWORD)
        self._outgoing = bytearray([SOCKS5_VERSION, len(methods), *methods])

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the server sent; no bytes mean the same as `receive_eof`.

        Raises:
            RemoteProtocolError: more than a mebibyte waits unparsed.
            LocalProtocolError: the stream has ended before.
        """
        self._buffer.append(data)

    def receive_eof(self) -> None:
        """Note that the server has ended its stream."""
        self._buffer.append_eof()

    def next_event(self) -> Reply | NeedData:
        """Parse the next message.

        Returns:
            The reply, once; `NEED_DATA` before there is one and ever after.

        Raises:
            RemoteProtocolError: the server does not accept us, does not speak SOCKS5, or has ended
                its stream before the reply. Each further call raises it again.
        """
        if self._refusal is not None:
            raise self._refusal.copy()
        while (event := self._parse()) is None:
            pass
        return event

    def data_to_send(self) -> bytes:
        """Take what is to be sent to the server; often nothing."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    @property
    def trailing_data(self) -> bytes:
        """What the server sent behind its reply: the first bytes of the tunnel."""
        return self._buffer.peek()

    def _refuse(self, message: str) -> NoReturn:
        self._state = _State.REFUSED
        self._refusal = RemoteProtocolError(message)
        raise self._refusal.copy()

    # One parser for each state ----------------------------------------------------------------

    def _parse(self) -> Reply | NeedData | None:
        """Parse one message; None says that the state has changed and the next one can be tried."""
        event: Reply | NeedData | None
        match self._state:
            case _State.METHOD:
                event = self._parse_method()
            case _State.PASSWORD:
                event = self._parse_password_status()
            case _State.REPLY:
                event = self._parse_reply()
            case _State.OPEN | _State.REFUSED:
                return NEED_DATA
            case _:
                assert_never(self._state)
        if event is NEED_DATA and self._buffer.ended:
            self._refuse("the server closed the connection without an answer")
        return event

    def _parse_method(self) -> NeedData | None:
        """Layout (RFC 1928 section 3): version (1) | method (1)."""
        data = self._buffer.peek(2)
        if data and data[0] != SOCKS5_VERSION:
            self._refuse(f"the server does not speak SOCKS5: its first byte is 0x{data[0]:02x}")
        if len(data) < 2:
            return NEED_DATA
        self._buffer.take(2)
        if data[1] == Method.NO_AUTHENTICATION:
            self._outgoing += self._request
            self._state = _State.REPLY
        elif data[1] == Method.USERNAME_PASSWORD and self._credentials is not None:
            self._outgoing += self._credentials
            self._state = _State.PASSWORD
        elif data[1] == Method.NONE_ACCEPTABLE and self._credentials is None:
            self._refuse("the server asks for a user name and a password, and none is set")
        else:
            self._refuse(f"the server wants authentication method 0x{data[1]:02x}")
        return None

    def _parse_password_status(self) -> NeedData | None:
        """Layout (RFC 1929 section 2): version (1) | status (1).

        The version is not looked at: some servers write SOCKS's own there.
        """
        if len(self._buffer) < 2:
            return NEED_DATA
        if self._buffer.take(2)[1] != PASSWORD_ACCEPTED:
            self._refuse("the server does not accept the user name or the password")
        self._outgoing += self._request
        self._state = _State.REPLY
        return None

    def _parse_reply(self) -> Reply | NeedData:
        """Layout (RFC 1928 section 6): version (1) | reply (1) | reserved (1) | address, port."""
        data = self._buffer.peek(_REPLY_SIZE_MAX)
        if data and data[0] != SOCKS5_VERSION:
            self._refuse(f"reply: version {data[0]} instead of {SOCKS5_VERSION}")
        if len(data) < 2:
            return NEED_DATA
        if data[1] != ReplyCode.SUCCEEDED:
            # Nothing else in it matters, and some servers leave it out.
            self._state = _State.REFUSED
            self._refusal = RemoteProtocolError("the request was refused")
            return Reply(code=_reply_code(data[1]))
        try:
            decoded = decode_address(data, _ADDRESS_OFFSET)
        except ValueError as exc:
            self._refuse(f"reply: {exc}")
        if decoded is NEED_DATA:
            return NEED_DATA
        host, port, end = decoded
        self._buffer.take(end)
        self._state = _State.OPEN
        bound = Destination(host=host, port=port, network=self._network)
        return Reply(code=ReplyCode.SUCCEEDED, bound=bound)


def _reply_code(number: int) -> ReplyCode:
    try:
        return ReplyCode(number)
    except ValueError:
        return ReplyCode.GENERAL_FAILURE


def _encode_credentials(user: str, password: str) -> bytes:
    """Layout (RFC 1929 section 2): version (1) | length (1) | user | length (1) | password."""
    encoded = bytearray([PASSWORD_VERSION])
    for word in (user.encode(), password.encode()):
        if not 0 < len(word) <= _CREDENTIAL_SIZE_MAX:
            raise ValueError(
                f"user name and password must have 1 to {_CREDENTIAL_SIZE_MAX} bytes, "
                f"not {len(word)}"
            )
        encoded.append(len(word))
        encoded += word
    return bytes(encoded)
