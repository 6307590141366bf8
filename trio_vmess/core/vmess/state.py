"""Which event may follow which.

A conversation has two directions, and each goes through the same phases on its own:

    HEADER --Request or Response--> BODY --Data--> BODY --EndOfStream--> ENDED

From BODY the shell may take the codecs and drive them itself: then the direction is HANDED_OVER.
Any fault of the peer makes it FAILED. Two rules are not in the table: who says which header (the
client the Request, the server the Response), and that a Response needs a Request before it. Neither
direction waits for the other otherwise: a client sends its body at once, and a server may answer
after the client's end.
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


TRANSITIONS: Final[Mapping[tuple[Phase, type[Event]], Phase]] = {
    (Phase.HEADER, Request): Phase.BODY,
    (Phase.HEADER, Response): Phase.BODY,
    (Phase.BODY, Data): Phase.BODY,
    (Phase.BODY, EndOfStream): Phase.ENDED,
}


def advance(phase: Phase, event: Event) -> Phase:
    """Return the phase that `event` leads to.

    Raises:
        LocalProtocolError: it may not come now.
    """
    try:
        return TRANSITIONS[phase, type(event)]
    except KeyError:
        raise LocalProtocolError(
            f"{type(event).__name__} may not come in the phase {phase.value!r}"
        ) from None
