"""The client's side of CONNECT: how a proxy asks another one for a tunnel.

The shell loops: it sends `data_to_send`, asks `next_event`, and gives what comes to `receive_data`.
After `Established` nothing more is parsed; `trailing_data` are the tunnel's first bytes.
"""

import base64

import attrs
import h11

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.destination import Destination, format_endpoint
from trio_vmess.core.http.answer import describe
from trio_vmess.core.http.connection import BoundedConnection
from trio_vmess.core.http.events import Established
from trio_vmess.errors import RemoteProtocolError


@attrs.frozen(kw_only=True)
class TunnelRefused:
    """The other proxy does not open the tunnel.

    Attributes:
        status: 300 to 599.
        reason: the phrase behind it, often empty.
    """

    status: int
    reason: str


class HttpConnectClient:
    """One conversation with an HTTP proxy, up to the moment the tunnel is open.

    Args:
        destination: where the tunnel is to go.
        user: None sends no password.
        password: goes with `user`.

    Raises:
        ValueError: the user name contains a colon, or the destination cannot be written.
    """

    def __init__(
        self, *, destination: Destination, user: str | None = None, password: str | None = None
    ) -> None:
        self._connection = BoundedConnection(h11.CLIENT)
        self._finished = False
        target = format_endpoint(destination.host, destination.port)
        headers = [("Host", target)]
        if user is not None:
            headers.append(("Proxy-Authorization", _basic(user, password or "")))
        try:
            request = h11.Request(method="CONNECT", target=target, headers=headers)
        except h11.LocalProtocolError as exc:
            raise ValueError(f"{target!r} cannot be requested: {describe(exc)}") from None
        self._outgoing = self._connection.send(request, h11.EndOfMessage())

    def data_to_send(self) -> bytes:
        """Take what is to be sent to the server: the request, once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the server sent; no bytes mean the same as `receive_eof`.

        Raises:
            RemoteProtocolError: more than a mebibyte waits.
            LocalProtocolError: the stream has ended before.
        """
        self._connection.receive_data(data)

    def receive_eof(self) -> None:
        """Note that the server has ended its stream."""
        self._connection.receive_eof()

    def next_event(self) -> Established | TunnelRefused | NeedData:
        """Parse the server's answer.

        Returns:
            What became of the request, once; `NEED_DATA` before there is an answer and ever after.

        Raises:
            RemoteProtocolError: this is not an answer in HTTP.
        """
        if self._finished:
            return NEED_DATA
        try:
            while (event := self._connection.next_event()) is not NEED_DATA:
                if isinstance(event, h11.Response):
                    self._finished = True
                    if event.status_code < 300:
                        return Established()
                    reason = event.reason.decode("ascii", "backslashreplace")
                    return TunnelRefused(status=event.status_code, reason=reason)
        except h11.RemoteProtocolError as exc:
            if self._connection.ended:
                message = "the server closed the connection without an answer"
            else:
                message = f"the server's answer is malformed: {describe(exc)}"
            raise RemoteProtocolError(message) from None
        return NEED_DATA

    @property
    def trailing_data(self) -> bytes:
        """What the server sent behind its answer: the first bytes of the tunnel."""
        return self._connection.unparsed


def _basic(user: str, password: str) -> str:
    """Return the header's value; RFC 7617 section 2."""
    if ":" in user:
        raise ValueError("a user name for HTTP cannot contain a colon")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
