"""Which event may follow which.

A conversation has two directions, and each goes through the same phases on its own:

    HEADER --Request or Response--> BODY --Data--> BODY --EndOfStream--> ENDED
                                    BODY --HAND_OVER--> HANDED_OVER
    HEADER or BODY --FAULT--> FAILED

`HAND_OVER` and `FAULT` are not events: nothing of them is on the wire. After the first the caller
drives the codecs itself; the second is any fault of the peer.

Two rules are not in the table: who says which header (the client the Request, the server the
Response), and that a Response needs a Request before it. Neither direction waits for the other
otherwise: a client sends its body at once, and a server may answer after the client's end.
"""

import enum
from collections.abc import Mapping
from typing import Final

from trio_vmess.core.vmess.events import Data, EndOfStream, Event, Request, Response
from trio_vmess.errors import LocalProtocolError


class Phase(enum.Enum):
    """How far one direction has come."""

    HEADER = "header"
    BODY = "body"
    ENDED = "ended"
    HANDED_OVER = "handed over"
    FAILED = "failed"


class Signal(enum.Enum):
    """What moves a direction besides events."""

    HAND_OVER = "a hand-over"
    FAULT = "a fault of the peer"


TRANSITIONS: Final[Mapping[Phase, Mapping[type[Event] | Signal, Phase]]] = {
    Phase.HEADER: {
        Request: Phase.BODY,
        Response: Phase.BODY,
        Signal.FAULT: Phase.FAILED,
    },
    Phase.BODY: {
        Data: Phase.BODY,
        EndOfStream: Phase.ENDED,
        Signal.HAND_OVER: Phase.HANDED_OVER,
        Signal.FAULT: Phase.FAILED,
    },
    Phase.ENDED: {},
    Phase.HANDED_OVER: {},
    Phase.FAILED: {},
}


def advance(phase: Phase, step: Event | Signal) -> Phase:
    """Return the phase that an event or a signal leads to.

    Raises:
        LocalProtocolError: it is not allowed in this phase.
    """
    try:
        return TRANSITIONS[phase][step if isinstance(step, Signal) else type(step)]
    except KeyError:
        name = step.value if isinstance(step, Signal) else type(step).__name__
        raise LocalProtocolError(f"{name} is not allowed in the phase {phase.value!r}") from None
