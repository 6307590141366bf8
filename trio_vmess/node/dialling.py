"""What an outbound connects to its servers with: sockets for IP, or one Unix socket for all."""

import functools
from typing import Self

import attrs

from trio_vmess.config import OutboundSettings
from trio_vmess.contracts import Connect, Resolve, Transport
from trio_vmess.core import Host
from trio_vmess.node.socket_options import SocketOptions, dialling_options
from trio_vmess.transport import dial, dial_unix


@attrs.frozen(kw_only=True)
class Dialler:
    """Connects to the servers of one outbound, without TLS or a carrier.

    Attributes:
        settings: the outbound's.
        options: of its sockets.
        resolve: resolves the names of servers.
    """

    settings: OutboundSettings
    options: SocketOptions
    resolve: Resolve

    @classmethod
    def of(cls, settings: OutboundSettings, *, resolve: Resolve, file: str = "") -> Self:
        """Return that of an outbound.

        Args:
            settings: the outbound's.
            resolve: resolves the names of servers.
            file: the name of the configuration file, for errors.

        Raises:
            ConfigError: this system lacks an option of sockets.
        """
        options = dialling_options(settings.stream, file=file)
        return cls(settings=settings, options=options, resolve=resolve)

    def connect(self, *, patience: float | None = None) -> Connect:
        """Return what connects.

        Args:
            patience: as for `dial`, unless the outbound has a lower limit of its own.
        """
        unix = self.settings.stream.unix
        if unix is not None:
            return functools.partial(_connect_to_unix, unix.path)
        limit = self.settings.stream.socket.user_timeout
        if limit is not None and patience is not None and limit <= patience:
            patience = None
        return functools.partial(
            dial,
            local=self.settings.send_through,
            resolve=self.resolve,
            options=self.options.streams,
            patience=patience,
        )


async def _connect_to_unix(name: str, _host: Host, _port: int) -> Transport:
    return await dial_unix(name)
