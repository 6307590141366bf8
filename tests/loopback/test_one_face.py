"""A stranger sees one face, whatever he sends and however the server is set up."""

import time
from typing import Final

import pytest

from tests.kit.nodes import start_server_node
from tests.kit.peer_specs import DynamicPorts, ServerSpec
from tests.kit.ports import free_port, free_port_range
from tests.kit.probes import Known, faults, list_probes, send_probes
from trio_vmess.config import PolicyLevelSettings, PolicySettings
from trio_vmess.core.vmess import Account, parse_user_id

HANDSHAKE: Final = 1.5
IMPATIENT: Final = PolicySettings(levels={0: PolicyLevelSettings(handshake=HANDSHAKE)})


@pytest.mark.parametrize("on_dynamic_port", [False, True], ids=["main", "dynamic"])
@pytest.mark.parametrize("alter_id", [0, 4])
async def test_all_probes_see_the_same(alter_id: int, on_dynamic_port: bool) -> None:
    spec = ServerSpec(
        alter_id=alter_id,
        dynamic_ports=DynamicPorts(ports=free_port_range(4), concurrency=2, alter_id=alter_id),
    )
    async with start_server_node(spec, policy=IMPATIENT) as server:
        account = Account(user_id=parse_user_id(spec.user_id), alter_id_count=alter_id)
        known = Known(account=account, now=int(time.time()), port=free_port())
        port = server.dynamic_ports[0] if on_dynamic_port else server.port
        probes = list_probes(known, step=13)
        assert len(probes) > 90
        faces = await send_probes(port, probes, deadline=HANDSHAKE, patience=HANDSHAKE + 2)
        # A busy machine is late now and then; what a stranger can tell, he can tell twice.
        odd = [probe for probe in probes if probe.name in faults(faces)]
        faces = await send_probes(port, odd, deadline=HANDSHAKE, patience=HANDSHAKE + 2)
        assert faults(faces) == {}
