"""What carries VMess in a pair of nodes, written down in the language of each implementation."""

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from tests.kit.carriers import BARE, CarrierSpec, has_carrier
from tests.kit.peer_carriers import sing_box_carrier, v2ray_stream, xray_stream
from trio_vmess.bench import OURS, SING_BOX, V2RAY, XRAY, Json, Role

_ROLES: Final[tuple[Role, ...]] = ("client", "server")


def _own_stream(spec: CarrierSpec, role: Role) -> Json:
    """Return `streamSettings`; ours are V2Ray's, and Xray's for what V2Ray does not have."""
    is_xrays = spec.network in ("httpupgrade", "grpc") or spec.early_data
    return (xray_stream if is_xrays else v2ray_stream)(spec, role)


_STREAMS: Final[Mapping[str, Callable[[CarrierSpec, Role], Json]]] = {
    OURS: _own_stream,
    V2RAY: v2ray_stream,
    XRAY: xray_stream,
}


@attrs.frozen
class Carried:
    """A carrier of the tests as a `trio_vmess.bench.Carrier`."""

    spec: CarrierSpec

    def fits(self, name: str) -> bool:
        """Return whether a pair of nodes of this implementation can meet by it."""
        return name == OURS or all(has_carrier(name.lower(), role, self.spec) for role in _ROLES)

    def settings(self, name: str, role: Role) -> Json:
        """Return what it adds to the VMess inbound or outbound of this implementation."""
        if name == SING_BOX:
            return sing_box_carrier(self.spec, role)
        return {"streamSettings": _STREAMS[name](self.spec, role)}


def carried_by(spec: CarrierSpec) -> Carried | None:
    """Return the carrier of a setup; None for bare TCP."""
    return None if spec == BARE else Carried(spec)
