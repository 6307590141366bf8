"""The table of capabilities, and what happens to a peer that is missing."""

import pytest

from tests.kit.peer_specs import (
    CAPABILITIES,
    ClientSpec,
    DynamicPorts,
    UnsupportedSpecError,
    cells,
    check_client,
    check_server,
    meeting_cells,
)
from tests.kit.peers import PEERS, V2RayPeer, require


def test_cells_are_distinct_and_belong_to_known_peers() -> None:
    every = cells()
    assert len({str(cell) for cell in every}) == len(set(every)) == len(every)
    assert {cell.peer for cell in every} == set(PEERS)


def test_every_client_cell_makes_a_spec_its_peer_accepts() -> None:
    for cell in cells(role="client"):
        # It names the spec in its error.
        check_client(cell.peer, cell.client_spec(1234))
        with pytest.raises(ValueError, match=f"{cell} is not a server"):
            cell.server_spec()


def test_every_server_cell_makes_a_spec_its_peer_accepts() -> None:
    for cell in cells(role="server"):
        plan = DynamicPorts(ports=range(1, 9)) if "dynamic_ports" in cell.options else None
        check_server(cell.peer, cell.server_spec(dynamic_ports=plan))
        with pytest.raises(ValueError, match=f"{cell} is not a client"):
            cell.client_spec(1234)


@pytest.mark.parametrize("client", PEERS)
@pytest.mark.parametrize("server", PEERS)
def test_every_pair_of_peers_has_something_in_common(client: str, server: str) -> None:
    meeting = meeting_cells(client, server)
    assert meeting
    assert {cell.peer for cell in meeting} == {client}
    if "xray" in (client, server):
        assert {cell.alter_id for cell in meeting} == {0}
    if server == "v2ray":
        assert not any("authenticated_length" in cell.options for cell in meeting)


def test_padding_left_open_takes_what_the_peer_does() -> None:
    check_client("v2ray", ClientSpec(server_port=1, security="aes-128-gcm"))
    with pytest.raises(UnsupportedSpecError):
        check_client("v2ray", ClientSpec(server_port=1, global_padding=False))
    with pytest.raises(UnsupportedSpecError):
        check_client("v2ray", ClientSpec(server_port=1, security="none", global_padding=True))


def test_no_capability_is_empty() -> None:
    assert all(list(capability.cells()) for capability in CAPABILITIES)


class _MissingPeer(V2RayPeer):
    name = "ghost"

    def why_missing(self) -> str | None:
        return "never installed"


def test_missing_peer_skips_and_in_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="ghost: never installed"):
        require(_MissingPeer())
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="ghost: never installed"):
        require(_MissingPeer())
    require()
