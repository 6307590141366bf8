"""A front that puts PROXY headers before the connections that it passes on: Xray's."""

from contextlib import AbstractAsyncContextManager

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.peer_configs import v2ray_configuration
from tests.kit.peer_process import RunningPeer, run_peer
from tests.kit.peers import XRAY
from tests.kit.ports import free_port


def start_proxy_front(target_port: int, version: int) -> AbstractAsyncContextManager[RunningPeer]:
    """Pass everything on to a port of this machine.

    Args:
        target_port: where to.
        version: of the PROXY header, 1 or 2.
    """
    port = free_port()
    inbound: dict[str, object] = {
        "protocol": "dokodemo-door",
        "listen": IPV4_LOOPBACK,
        "port": port,
        "settings": {"address": IPV4_LOOPBACK, "port": target_port, "network": "tcp"},
    }
    freedom = {
        "protocol": "freedom",
        "settings": {"proxyProtocol": version, "finalRules": [{"action": "allow"}]},
    }
    configuration = v2ray_configuration([inbound], freedom)
    return run_peer("PROXY front", XRAY._command(), configuration, IPV4_LOOPBACK, port, {})
