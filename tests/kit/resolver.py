"""Names that only tests know: a resolver for one run of Trio."""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import trio


class TableResolver(trio.abc.HostnameResolver):
    """Answers from a table, in its order; a name that is not in it does not exist.

    Args:
        table: addresses by name.

    Attributes:
        asked: every name that was asked for.
    """

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        self.asked: list[str] = []
        self._table = table

    def use(self) -> None:
        """Let this run of Trio ask here."""
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """See `trio.abc.HostnameResolver`."""
        await trio.lowlevel.checkpoint()
        name = (host or b"").decode() if isinstance(host, bytes | None) else str(host)
        self.asked.append(name)
        if name not in self._table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = []
        for text in self._table[name]:
            address = ipaddress.ip_address(text)
            is_v4 = address.version == 4
            kind = socket.AF_INET if is_v4 else socket.AF_INET6
            if family in (0, kind):
                place = (text, 0) if is_v4 else (text, 0, 0, 0)
                answers.append((kind, socket.SOCK_STREAM, 6, "", place))
        return answers

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        """No test asks for this."""
        raise socket.gaierror(socket.EAI_NONAME, "not asked for by any test")
