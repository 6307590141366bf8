"""The HTTP/1.1 heads by which a connection becomes a tunnel: WebSocket's and HTTPUpgrade's.

Both look the same on the wire: a request to switch protocols, and the answer 101. What follows is
frames for WebSocket (see `websocket`), and the bytes as they are for HTTPUpgrade.
"""

from trio_vmess.core.carriage.upgrade.client import (
    NotSwitched,
    Switched,
    UpgradeClient,
    UpgradeRequest,
)
from trio_vmess.core.carriage.upgrade.early_data import (
    EARLY_DATA_HEADER,
    encode_early_data,
    split_early_data_size,
)
from trio_vmess.core.carriage.upgrade.request import MalformedError, RequestHead, RequestReader
from trio_vmess.core.carriage.upgrade.server import (
    Refused,
    Upgraded,
    UpgradeRules,
    UpgradeServer,
)
from trio_vmess.core.carriage.upgrade.words import UpgradeKind

__all__ = [
    "EARLY_DATA_HEADER",
    "MalformedError",
    "NotSwitched",
    "Refused",
    "RequestHead",
    "RequestReader",
    "Switched",
    "UpgradeClient",
    "UpgradeKind",
    "UpgradeRequest",
    "UpgradeRules",
    "UpgradeServer",
    "Upgraded",
    "encode_early_data",
    "split_early_data_size",
]
