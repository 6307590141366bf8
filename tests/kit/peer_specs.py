"""What a peer should do, and which peer supports it.

`CAPABILITIES` is the one table of what exists: tests are parametrised from it, and a spec that
is not in it is refused before a process starts.
Without that, V2Ray would take an unknown cipher word for `auto` and a test would pass without
having tested anything.

Sources:
    v2ray-core v4.34.0, infra/conf/vmess.go and proxy/vmess; Xray-core, the same paths;
    sing-vmess, client.go and service.go; sing-box, documentation of the vmess inbound and
    outbound. Cells in which two of the peers meet were also tried between the running programs.
"""

from collections.abc import Iterator
from typing import Final, Literal

import attrs

from tests.kit.carriers import BARE, CarrierSpec, Role, has_carrier
from tests.kit.names import IPV4_LOOPBACK

Option = Literal[
    "global_padding", "authenticated_length", "mux", "xudp", "packetaddr", "dynamic_ports"
]
PacketEncoding = Literal["off", "xudp", "packetaddr"]

USER_ID: Final = "b831381d-6324-4d53-ad4f-8cda48b30811"

AEAD_SECURITIES: Final = ("aes-128-gcm", "chacha20-poly1305")

PADDING: Final[frozenset[Option]] = frozenset({"global_padding"})
LENGTH: Final[frozenset[Option]] = frozenset({"authenticated_length"})
MUX: Final[frozenset[Option]] = frozenset({"mux"})
XUDP: Final[frozenset[Option]] = frozenset({"xudp"})
PACKETADDR: Final[frozenset[Option]] = frozenset({"packetaddr"})
DYNAMIC: Final[frozenset[Option]] = frozenset({"dynamic_ports"})
PLAIN: Final[frozenset[Option]] = frozenset()


def packet_encoding_of(options: frozenset[Option]) -> PacketEncoding:
    """Return how UDP travels with these options."""
    if "xudp" in options:
        return "xudp"
    return "packetaddr" if "packetaddr" in options else "off"


@attrs.frozen(kw_only=True)
class DynamicPorts:
    """A second inbound whose ports come and go, announced with command 1.

    Attributes:
        ports: the range it may use; must hold more ports than `concurrency`.
        concurrency: ports open per generation.
        refresh: minutes between generations, at least 1.
        alter_id: alter ids of the user a client is switched to; 0 means an AEAD header.
    """

    ports: range
    concurrency: int = 3
    refresh: int = 5
    alter_id: int = 0


@attrs.frozen(kw_only=True)
class ServerSpec:
    """A VMess inbound with one user.

    Attributes:
        user_id: UUID text.
        alter_id: how many alter ids the user has.
        host: address to listen on.
        port: port to listen on, or None for a free one.
        dynamic_ports: announce these, or None.
        carrier: what carries VMess.
    """

    user_id: str = USER_ID
    alter_id: int = 0
    host: str = IPV4_LOOPBACK
    port: int | None = None
    dynamic_ports: DynamicPorts | None = None
    carrier: CarrierSpec = BARE


@attrs.frozen(kw_only=True)
class ClientSpec:
    """A VMess outbound behind a SOCKS5 inbound.

    Attributes:
        server_port: port of the VMess server.
        server_host: its address.
        user_id: UUID text.
        alter_id: above 0, the client sends the legacy header.
        security: the word of the peer's configuration.
        global_padding: True or False to insist, None for what the peer does by itself.
        authenticated_length: send option bit 0x10.
        packet_encoding: how UDP travels; `off` is command 2.
        mux: send everything through Mux.Cool.
        udp: let the SOCKS inbound grant associations.
        proxy_port: port of the SOCKS inbound, or None for a free one.
        proxy_login: user and password the SOCKS inbound demands, or None.
        carrier: what carries VMess.
    """

    server_port: int
    server_host: str = IPV4_LOOPBACK
    user_id: str = USER_ID
    alter_id: int = 0
    security: str = "auto"
    global_padding: bool | None = None
    authenticated_length: bool = False
    packet_encoding: PacketEncoding = "off"
    mux: bool = False
    udp: bool = True
    proxy_port: int | None = None
    proxy_login: tuple[str, str] | None = attrs.field(default=None, repr=False)
    carrier: CarrierSpec = BARE


@attrs.frozen(kw_only=True)
class Cell:
    """One thing one peer can do in one role.

    Attributes:
        peer: its name.
        role: as a server it accepts this, as a client it sends this.
        alter_id: 0 for AEAD headers, else the count for legacy ones.
        security: as in the configuration; a server accepts every cipher, whatever its own setting.
        options: what is switched on.
    """

    peer: str
    role: Role
    alter_id: int
    security: str
    options: frozenset[Option]

    def __str__(self) -> str:
        header = f"legacy{self.alter_id}" if self.alter_id else "aead"
        return "-".join((self.peer, self.role, header, self.security, *sorted(self.options)))

    def client_spec(
        self, server_port: int, *, user_id: str = USER_ID, server_host: str = IPV4_LOOPBACK
    ) -> ClientSpec:
        """Return the spec of a client that sends exactly this.

        Raises:
            ValueError: the cell describes a server.
        """
        if self.role != "client":
            raise ValueError(f"{self} is not a client")
        return ClientSpec(
            server_port=server_port,
            server_host=server_host,
            user_id=user_id,
            alter_id=self.alter_id,
            security=self.security,
            global_padding="global_padding" in self.options,
            authenticated_length="authenticated_length" in self.options,
            packet_encoding=packet_encoding_of(self.options),
            mux="mux" in self.options,
        )

    def server_spec(
        self, *, user_id: str = USER_ID, dynamic_ports: DynamicPorts | None = None
    ) -> ServerSpec:
        """Return the spec of a server that accepts this.

        Args:
            user_id: UUID text.
            dynamic_ports: what to announce; only for a cell with that option.

        Raises:
            ValueError: the cell describes a client, or disagrees about dynamic ports.
        """
        if self.role != "server":
            raise ValueError(f"{self} is not a server")
        if ("dynamic_ports" in self.options) != (dynamic_ports is not None):
            raise ValueError(f"{self} and dynamic_ports={dynamic_ports} disagree")
        return ServerSpec(user_id=user_id, alter_id=self.alter_id, dynamic_ports=dynamic_ports)


@attrs.frozen(kw_only=True)
class Capability:
    """A block of cells: every combination of its columns exists.

    Attributes:
        peer: name of the peer.
        role: server or client.
        alter_ids: counts to test with; any other positive count works where one is listed.
        securities: names in the configuration.
        option_sets: the sets of options that may be on together.
    """

    peer: str
    role: Role
    alter_ids: tuple[int, ...]
    securities: tuple[str, ...]
    option_sets: tuple[frozenset[Option], ...]

    def cells(self) -> Iterator[Cell]:
        """Yield every combination."""
        for alter_id in self.alter_ids:
            for security in self.securities:
                for options in self.option_sets:
                    yield Cell(
                        peer=self.peer,
                        role=self.role,
                        alter_id=alter_id,
                        security=security,
                        options=options,
                    )


CAPABILITIES: Final = (
    # V2Ray always pads under an AEAD cipher and never pads "none"; it offers no switch.
    Capability(
        peer="v2ray",
        role="client",
        alter_ids=(0, 4),
        securities=("auto", *AEAD_SECURITIES),
        option_sets=(PADDING, PADDING | MUX),
    ),
    Capability(
        peer="v2ray",
        role="client",
        alter_ids=(0, 4),
        securities=("none",),
        option_sets=(PLAIN, MUX),
    ),
    Capability(
        peer="v2ray",
        role="server",
        alter_ids=(0, 4),
        securities=("auto", *AEAD_SECURITIES),
        option_sets=(PLAIN, PADDING, MUX, PADDING | MUX, DYNAMIC, PADDING | DYNAMIC),
    ),
    Capability(
        peer="v2ray",
        role="server",
        alter_ids=(0, 4),
        securities=("none", "zero", "aes-128-cfb"),
        option_sets=(PLAIN, MUX, DYNAMIC),
    ),
    # Xray knows AEAD headers alone. It pads as V2Ray does.
    Capability(
        peer="xray",
        role="client",
        alter_ids=(0,),
        securities=("auto", *AEAD_SECURITIES),
        option_sets=tuple(
            PADDING | length | extra
            for length in (PLAIN, LENGTH)
            for extra in (PLAIN, MUX, XUDP, MUX | XUDP)
        ),
    ),
    Capability(
        peer="xray",
        role="server",
        alter_ids=(0,),
        securities=("auto", *AEAD_SECURITIES),
        option_sets=tuple(
            padding | length | extra
            for padding in (PLAIN, PADDING)
            for length in (PLAIN, LENGTH)
            for extra in (PLAIN, MUX, XUDP)
        ),
    ),
    # sing-box has a multiplex of its own but no Mux.Cool client; its server takes both.
    # Its legacy server forgets past seconds after 10 s of uptime, and then refuses part of what
    # V2Ray's legacy client sends (its time is off by up to 30 s): start one per test.
    Capability(
        peer="sing-box",
        role="client",
        alter_ids=(0, 1),
        securities=("auto", *AEAD_SECURITIES),
        option_sets=tuple(
            padding | length | encoding
            for padding in (PLAIN, PADDING)
            for length in (PLAIN, LENGTH)
            for encoding in (PLAIN, XUDP, PACKETADDR)
        ),
    ),
    Capability(
        peer="sing-box",
        role="client",
        alter_ids=(0, 1),
        securities=("none", "zero", "aes-128-cfb"),
        option_sets=(PLAIN, XUDP, PACKETADDR),
    ),
    Capability(
        peer="sing-box",
        role="server",
        alter_ids=(0, 1),
        securities=("auto", *AEAD_SECURITIES),
        option_sets=tuple(
            padding | length | extra
            for padding in (PLAIN, PADDING)
            for length in (PLAIN, LENGTH)
            for extra in (PLAIN, MUX, XUDP, PACKETADDR)
        ),
    ),
    Capability(
        peer="sing-box",
        role="server",
        alter_ids=(0, 1),
        securities=("none", "zero", "aes-128-cfb"),
        option_sets=(PLAIN, MUX, XUDP, PACKETADDR),
    ),
)


def cells(peer: str | None = None, role: Role | None = None) -> tuple[Cell, ...]:
    """Return the table's cells, all or those of one peer, one role, or both."""
    return tuple(
        cell
        for capability in CAPABILITIES
        for cell in capability.cells()
        if peer in (None, cell.peer) and role in (None, cell.role)
    )


def meeting_cells(client: str, server: str) -> tuple[Cell, ...]:
    """Return the cells of `client` that `server` accepts as they are.

    An alter id count is accepted by a server with any positive count: both are configured alike.
    """
    accepted = {
        (cell.alter_id > 0, cell.security, cell.options) for cell in cells(server, "server")
    }
    return tuple(
        cell
        for cell in cells(client, "client")
        if (cell.alter_id > 0, cell.security, cell.options) in accepted
    )


class UnsupportedSpecError(ValueError):
    """The peer does not support the spec; the table lists what it supports."""


def check_client(peer: str, spec: ClientSpec) -> None:
    """Refuse a client spec that is in no cell, or a carrier that the peer does not have.

    Raises:
        UnsupportedSpecError: the peer would do something else.
    """
    wanted: set[Option] = set()
    if spec.global_padding:
        wanted.add("global_padding")
    if spec.authenticated_length:
        wanted.add("authenticated_length")
    if spec.packet_encoding != "off":
        wanted.add(spec.packet_encoding)
    if spec.mux:
        wanted.add("mux")
    ignored = PADDING if spec.global_padding is None else PLAIN
    for cell in cells(peer, "client"):
        if (
            has_carrier(peer, "client", spec.carrier)
            and (cell.alter_id > 0) == (spec.alter_id > 0)
            and cell.security == spec.security
            and cell.options - ignored == wanted - ignored
        ):
            return
    raise UnsupportedSpecError(f"{peer} cannot be {spec}")


def check_server(peer: str, spec: ServerSpec) -> None:
    """Refuse a server spec that is in no cell, or a carrier that the peer does not have.

    Raises:
        UnsupportedSpecError: the peer would do something else.
    """
    for cell in cells(peer, "server"):
        if (
            has_carrier(peer, "server", spec.carrier)
            and (cell.alter_id > 0) == (spec.alter_id > 0)
            and (spec.dynamic_ports is None or "dynamic_ports" in cell.options)
        ):
            return
    raise UnsupportedSpecError(f"{peer} cannot be {spec}")
