"""How much a comparison measures."""

from collections.abc import Mapping
from typing import Final

from trio_vmess.bench import Size

SIZES: Final[Mapping[str, Size]] = {
    "tiny": Size(
        rounds=1,
        seconds=0.05,
        connection_count=10,
        first_count=3,
        idle_count=20,
        settle_limit=0.0,
        share_seconds=0.1,
    ),
    "quick": Size(
        rounds=1,
        seconds=0.4,
        connection_count=400,
        first_count=12,
        idle_count=500,
        settle_limit=20.0,
        share_seconds=3.0,
    ),
    "full": Size(
        rounds=5,
        seconds=1.5,
        connection_count=2000,
        first_count=12,
        idle_count=1000,
        settle_limit=40.0,
        share_seconds=10.0,
    ),
}
