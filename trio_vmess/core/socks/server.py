"""The proxy's side of SOCKS4, SOCKS4a and SOCKS5, all on one port.

Theory of operation. The first byte says which version it is. From there on there is one parser for
each state. A parser takes a whole message or nothing, so it may be called again when more has come;
it answers with an event, or with `NEED_DATA`, or with None when it has moved on to another state.

    VERSION -> GREETING [-> PASSWORD] -> REQUEST5 -> REPLY -> OPEN      SOCKS5
    VERSION -> REQUEST4 ------------------------> REPLY -> OPEN        SOCKS4
    any ----> REFUSED                   before REPLY, at the end of the stream: CLOSED

The shell loops: `receive_data`, then `next_event`, then it sends whatever `data_to_send` holds. A
refusal is a `RemoteProtocolError` out of `next_event`; the bytes that tell the program of it are in
`data_to_send` by then. After a `Request` nothing more is parsed: what follows is early data, which
`trailing_data` gives back.

What is not done: GSSAPI, BIND, and identd for SOCKS4.
"""

import enum
import ipaddress
from collections.abc import Mapping
from typing import Final, NoReturn, assert_never

from trio_vmess.core.buffer import NEED_DATA, NeedData, ReceiveBuffer
from trio_vmess.core.destination import Destination, Host, Network
from trio_vmess.core.mixed import TLS_FIRST_BYTE, PasswordBook
from trio_vmess.core.socks.address import (
    PORT_SIZE,
    UnknownAddressTypeError,
    decode_address,
    decode_domain,
    encode_address,
)
from trio_vmess.core.socks.constants import (
    DOMAIN_SIZE_MAX,
    PASSWORD_ACCEPTED,
    PASSWORD_REFUSED,
    PASSWORD_VERSION,
    RECEIVE_LIMIT,
    SERVED_COMMANDS,
    SOCKS4_REPLY_VERSION,
    SOCKS4_USER_SIZE_MAX,
    SOCKS4_VERSION,
    SOCKS5_VERSION,
    Command,
    Method,
    ReplyCode,
)
from trio_vmess.core.socks.events import ConnectionClosed, Reply, Request
from trio_vmess.errors import (
    AuthenticationError,
    LocalProtocolError,
    Refusal,
    RemoteProtocolError,
)

_REQUEST5_ADDRESS_OFFSET: Final = 3
_REQUEST5_SIZE_MAX: Final = 4 + 1 + DOMAIN_SIZE_MAX + PORT_SIZE
_REQUEST4_USER_OFFSET: Final = 8
_REQUEST4_SIZE_MAX: Final = _REQUEST4_USER_OFFSET + SOCKS4_USER_SIZE_MAX + 1 + DOMAIN_SIZE_MAX + 1
_PASSWORD_SIZE_MAX: Final = 3 + 255 + 255

_UNSPECIFIED: Final = ipaddress.IPv4Address(0)


class _State(enum.Enum):
    VERSION = enum.auto()
    GREETING = enum.auto()
    PASSWORD = enum.auto()
    REQUEST5 = enum.auto()
    REQUEST4 = enum.auto()
    REPLY = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()
    REFUSED = enum.auto()


class SocksServer:
    """One program's conversation with the proxy, up to the moment the tunnel is open.

    Args:
        accounts: user name to password. None requires no password. A mapping requires one
            from every program, and refuses SOCKS4, which does not have passwords.
    """

    def __init__(self, *, accounts: Mapping[str, str] | None = None) -> None:
        self._passwords = None if accounts is None else PasswordBook(accounts)
        self._buffer = ReceiveBuffer(RECEIVE_LIMIT)
        self._outgoing = bytearray()
        self._state = _State.VERSION
        self._version = 0
        self._user: str | None = None
        self._refusal: RemoteProtocolError | None = None

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the program sent; no bytes mean the same as `receive_eof`.

        Raises:
            RemoteProtocolError: more than a mebibyte waits unparsed.
            LocalProtocolError: the stream has ended before.
        """
        self._buffer.append(data)

    def receive_eof(self) -> None:
        """Note that the program has ended its stream."""
        self._buffer.append_eof()

    def next_event(self) -> Request | ConnectionClosed | NeedData:
        """Parse the next message.

        Returns:
            The request, or the end of the connection between two messages, once; `NEED_DATA`
            before there is either and ever after.

        Raises:
            RemoteProtocolError: the program is refused, and `data_to_send` holds what it is to be
                told; or its stream ends inside a message. Each further call raises it again.
            AuthenticationError: the same, for a wrong user name or password.
        """
        if self._refusal is not None:
            raise self._refusal.copy()
        while (event := self._parse()) is None:
            pass
        return event

    def data_to_send(self) -> bytes:
        """Take what the negotiation itself has to say to the program; often nothing."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def send(self, reply: Reply) -> bytes:
        """Answer the request, in the version it came in.

        Raises:
            LocalProtocolError: no request waits for an answer.
            ValueError: the bound address cannot be written.
        """
        if self._state is not _State.REPLY:
            raise LocalProtocolError(f"no request waits for a reply (state {self._state.name})")
        encoded = self._encode_reply(reply)
        if reply.code is ReplyCode.SUCCEEDED:
            self._state = _State.OPEN
        else:
            self._state = _State.REFUSED
            self._refusal = RemoteProtocolError(f"the request was refused: {reply.code.name}")
        return encoded

    @property
    def trailing_data(self) -> bytes:
        """What the program sent behind its request: the first bytes of the tunnel."""
        return self._buffer.peek()

    def _end(self) -> ConnectionClosed:
        if self._buffer:
            self._refuse(RemoteProtocolError("the connection was closed inside a message"))
        self._state = _State.CLOSED
        return ConnectionClosed()

    def _encode_reply(self, reply: Reply) -> bytes:
        host: Host = _UNSPECIFIED if reply.bound is None else reply.bound.host
        port = 0 if reply.bound is None else reply.bound.port
        if self._version == SOCKS5_VERSION:
            return bytes([SOCKS5_VERSION, reply.code, 0]) + encode_address(host, port)
        if not isinstance(host, ipaddress.IPv4Address):
            host, port = _UNSPECIFIED, 0
        address = encode_address(host, port)
        head = bytes([SOCKS4_REPLY_VERSION, reply.code.socks4])
        return head + address[-PORT_SIZE:] + address[1:-PORT_SIZE]

    def _refuse(self, error: RemoteProtocolError, answer: bytes = b"") -> NoReturn:
        self._outgoing += answer
        self._state = _State.REFUSED
        self._refusal = error
        raise error.copy()

    def _refuse_request(self, code: ReplyCode, message: str) -> NoReturn:
        self._refuse(RemoteProtocolError(message), self._encode_reply(Reply(code=code)))

    # One parser for each state ----------------------------------------------------------------

    def _parse(self) -> Request | ConnectionClosed | NeedData | None:
        """Parse one message; None says that the state has changed and the next one can be tried."""
        event: Request | NeedData | None
        match self._state:
            case _State.VERSION:
                event = self._parse_version()
            case _State.GREETING:
                event = self._parse_greeting()
            case _State.PASSWORD:
                event = self._parse_password()
            case _State.REQUEST5:
                event = self._parse_request5()
            case _State.REQUEST4:
                event = self._parse_request4()
            case _State.REPLY | _State.OPEN | _State.CLOSED | _State.REFUSED:
                return NEED_DATA
            case _:
                assert_never(self._state)
        return self._end() if event is NEED_DATA and self._buffer.ended else event

    def _parse_version(self) -> NeedData | None:
        if not self._buffer:
            return NEED_DATA
        self._version = self._buffer.peek(1)[0]
        if self._version == SOCKS5_VERSION:
            self._state = _State.GREETING
        elif self._version == SOCKS4_VERSION:
            self._state = _State.REQUEST4
        else:
            self._refuse(RemoteProtocolError(_describe_first_byte(self._version)))
        return None

    def _parse_greeting(self) -> NeedData | None:
        """Layout (RFC 1928 section 3): version (1) | count (1) | that many methods."""
        head = self._buffer.peek(2)
        if len(head) < 2 or len(self._buffer) < 2 + head[1]:
            return NEED_DATA
        offered = self._buffer.take(2 + head[1])[2:]
        if self._passwords is None:
            method, state = Method.NO_AUTHENTICATION, _State.REQUEST5
            hint = "this inbound asks for no password, but the program insists on sending one"
        else:
            method, state = Method.USERNAME_PASSWORD, _State.PASSWORD
            hint = "this inbound asks for a user name and a password, but the program has none set"
        if method not in offered:
            self._refuse(
                RemoteProtocolError(f"no common authentication method: {hint}"),
                bytes([SOCKS5_VERSION, Method.NONE_ACCEPTABLE]),
            )
        self._outgoing += bytes([SOCKS5_VERSION, method])
        self._state = state
        return None

    def _parse_password(self) -> NeedData | None:
        """Layout (RFC 1929 section 2): version (1) | length (1) | user | length (1) | password."""
        data = self._buffer.peek(_PASSWORD_SIZE_MAX)
        if not data:
            return NEED_DATA
        if data[0] != PASSWORD_VERSION:
            self._refuse(
                RemoteProtocolError(
                    f"password message: version {data[0]} instead of {PASSWORD_VERSION}"
                ),
                bytes([PASSWORD_VERSION, PASSWORD_REFUSED]),
            )
        if len(data) < 2 or len(data) < 3 + data[1]:
            return NEED_DATA
        user_end = 2 + data[1]
        end = user_end + 1 + data[user_end]
        if len(data) < end:
            return NEED_DATA
        self._buffer.take(end)
        if self._passwords is not None:
            self._user = self._passwords.find(data[2:user_end], data[user_end + 1 : end])
        if self._user is None:
            self._refuse(
                AuthenticationError(
                    "the user name or the password is wrong", reason=Refusal.UNKNOWN_USER
                ),
                bytes([PASSWORD_VERSION, PASSWORD_REFUSED]),
            )
        self._outgoing += bytes([PASSWORD_VERSION, PASSWORD_ACCEPTED])
        self._state = _State.REQUEST5
        return None

    def _parse_request5(self) -> Request | NeedData:
        """Layout (RFC 1928 section 4): version (1) | command (1) | reserved (1) | address, port."""
        data = self._buffer.peek(_REQUEST5_SIZE_MAX)
        if data and data[0] != SOCKS5_VERSION:
            self._refuse_request(
                ReplyCode.GENERAL_FAILURE, f"request: version {data[0]} instead of {SOCKS5_VERSION}"
            )
        try:
            decoded = decode_address(data, _REQUEST5_ADDRESS_OFFSET)
        except UnknownAddressTypeError as exc:
            self._refuse_request(ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED, f"request: {exc}")
        except ValueError as exc:
            self._refuse_request(ReplyCode.GENERAL_FAILURE, f"request: {exc}")
        if decoded is NEED_DATA:
            return NEED_DATA
        host, port, end = decoded
        command = data[1]
        # The whole request is taken before a refusal: bytes left unread would turn the close into a
        # reset, and the program might never see the reply.
        self._buffer.take(end)
        served = SERVED_COMMANDS.get(command)
        if served is None:
            self._refuse_request(ReplyCode.COMMAND_NOT_SUPPORTED, _describe_command(command))
        return self._request(served, host, port)

    def _parse_request4(self) -> Request | NeedData:
        """Layout: version (1) | command (1) | port (2) | IPv4 (4) | user, NUL [| domain, NUL]."""
        data = self._buffer.peek(_REQUEST4_SIZE_MAX)
        if len(data) < _REQUEST4_USER_OFFSET:
            return NEED_DATA
        user_end = data.find(0, _REQUEST4_USER_OFFSET)
        user_size = (len(data) if user_end < 0 else user_end) - _REQUEST4_USER_OFFSET
        if user_size > SOCKS4_USER_SIZE_MAX:
            self._refuse_request(ReplyCode.GENERAL_FAILURE, "request: the user id is too long")
        if user_end < 0:
            return NEED_DATA
        end = user_end + 1
        host: Host = ipaddress.IPv4Address(data[4:_REQUEST4_USER_OFFSET])
        # QUIRK: the 4a document says 0.0.0.x with x not 0, V2Ray says any first byte of 0. Nothing
        # else can be meant by such an address.
        # Source: v2ray-core, proxy/socks/protocol.go, handshake4.
        if data[4] == 0:
            domain_end = data.find(0, end)
            domain = data[end:] if domain_end < 0 else data[end:domain_end]
            if len(domain) > DOMAIN_SIZE_MAX:
                self._refuse_request(ReplyCode.GENERAL_FAILURE, "request: the domain is too long")
            if domain_end < 0:
                return NEED_DATA
            try:
                host = decode_domain(domain)
            except ValueError as exc:
                self._refuse_request(ReplyCode.GENERAL_FAILURE, f"request: {exc}")
            end = domain_end + 1
        self._buffer.take(end)
        if self._passwords is not None:
            self._refuse_request(
                ReplyCode.NOT_ALLOWED,
                "this inbound asks for a password, which SOCKS4 cannot carry: set the program to "
                "SOCKS5",
            )
        if data[1] != Command.CONNECT:
            self._refuse_request(ReplyCode.COMMAND_NOT_SUPPORTED, _describe_command(data[1]))
        return self._request(Command.CONNECT, host, int.from_bytes(data[2:4], "big"))

    def _request(self, command: Command, host: Host, port: int) -> Request:
        self._state = _State.REPLY
        network = Network.UDP if command is Command.UDP_ASSOCIATE else Network.TCP
        return Request(
            command=command,
            destination=Destination(host=host, port=port, network=network),
            user=self._user,
        )


def _describe_first_byte(first: int) -> str:
    if chr(first).isascii() and chr(first).isalpha():
        return (
            "this looks like an HTTP request: the program's proxy type is probably set to HTTP, "
            "but this inbound speaks SOCKS"
        )
    if first == TLS_FIRST_BYTE:
        return (
            "this looks like TLS: the program probably takes the proxy for an HTTPS server, but "
            "this inbound speaks plain SOCKS"
        )
    return f"unknown SOCKS version {first}: expected 4 or 5"


def _describe_command(command: int) -> str:
    if command == Command.BIND:
        return "the BIND command is not supported"
    return f"unknown command 0x{command:02x}"
