"""VMess without I/O: connections as state machines, users, replays, and the codecs of bodies.

ServerConnection, ClientConnection    bytes in, events out
StreamBody, PacketBody                the codecs they hand over for the data path
UserRegistry, ReplayCache             which users are admitted, and each request once
Dialect                               the wire as it is, or as the documents wrote it
"""

from typing import TYPE_CHECKING

from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.core.vmess.account import Account, format_user_id, parse_user_id
    from trio_vmess.core.vmess.body import PacketBody, PacketOpener, PacketSealer, StreamBody
    from trio_vmess.core.vmess.client import ClientConnection
    from trio_vmess.core.vmess.clock_search import ClockSearch
    from trio_vmess.core.vmess.command import SwitchAccount
    from trio_vmess.core.vmess.constants import (
        AUTH_SIZE,
        PACKET_SIZE,
        TIMESTAMP_JITTER,
        Command,
        Option,
        Security,
    )
    from trio_vmess.core.vmess.diagnosis import Diagnosis, diagnose
    from trio_vmess.core.vmess.dialect import DIALECTS, DOCUMENT, V2RAY, Dialect
    from trio_vmess.core.vmess.events import (
        Data,
        EndOfStream,
        Event,
        HeaderForm,
        Request,
        Response,
    )
    from trio_vmess.core.vmess.header import MUX_DESTINATION
    from trio_vmess.core.vmess.replay import (
        DEFAULT_CAPACITY,
        REPLAY_KEY_SIZE,
        ForgottenTimes,
        OwnMemory,
        ReplayCache,
        ReplayMemory,
    )
    from trio_vmess.core.vmess.security import SECURITY_WORDS, choose_security
    from trio_vmess.core.vmess.server import ServerConnection
    from trio_vmess.core.vmess.state import Phase
    from trio_vmess.core.vmess.terminator_habit import TerminatorHabit
    from trio_vmess.core.vmess.users import AuthMatch, UserRegistry, authentication_window
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "account": ("Account", "format_user_id", "parse_user_id"),
            "body": ("PacketBody", "PacketOpener", "PacketSealer", "StreamBody"),
            "client": ("ClientConnection",),
            "clock_search": ("ClockSearch",),
            "command": ("SwitchAccount",),
            "constants": (
                "AUTH_SIZE",
                "PACKET_SIZE",
                "TIMESTAMP_JITTER",
                "Command",
                "Option",
                "Security",
            ),
            "diagnosis": ("Diagnosis", "diagnose"),
            "dialect": ("DIALECTS", "DOCUMENT", "V2RAY", "Dialect"),
            "events": ("Data", "EndOfStream", "Event", "HeaderForm", "Request", "Response"),
            "header": ("MUX_DESTINATION",),
            "replay": (
                "DEFAULT_CAPACITY",
                "REPLAY_KEY_SIZE",
                "ForgottenTimes",
                "OwnMemory",
                "ReplayCache",
                "ReplayMemory",
            ),
            "security": ("SECURITY_WORDS", "choose_security"),
            "server": ("ServerConnection",),
            "state": ("Phase",),
            "terminator_habit": ("TerminatorHabit",),
            "users": ("AuthMatch", "UserRegistry", "authentication_window"),
        },
    )

__all__ = [
    "AUTH_SIZE",
    "DEFAULT_CAPACITY",
    "DIALECTS",
    "DOCUMENT",
    "MUX_DESTINATION",
    "PACKET_SIZE",
    "REPLAY_KEY_SIZE",
    "SECURITY_WORDS",
    "TIMESTAMP_JITTER",
    "V2RAY",
    "Account",
    "AuthMatch",
    "ClientConnection",
    "ClockSearch",
    "Command",
    "Data",
    "Diagnosis",
    "Dialect",
    "EndOfStream",
    "Event",
    "ForgottenTimes",
    "HeaderForm",
    "Option",
    "OwnMemory",
    "PacketBody",
    "PacketOpener",
    "PacketSealer",
    "Phase",
    "ReplayCache",
    "ReplayMemory",
    "Request",
    "Response",
    "Security",
    "ServerConnection",
    "StreamBody",
    "SwitchAccount",
    "TerminatorHabit",
    "UserRegistry",
    "authentication_window",
    "choose_security",
    "diagnose",
    "format_user_id",
    "parse_user_id",
]
