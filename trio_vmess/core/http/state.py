"""Where a client's connection to the HTTP proxy stands, and what moves it on.

One table holds every legal transition. What it cannot express: a response may end before its
request does, and whether the connection can serve another request afterwards is known to h11 alone.
So the end of a response is two steps, and the second, `LAST_RESPONSE_ENDED`, closes.
"""

import enum
from collections.abc import Mapping
from typing import Final

from trio_vmess.errors import LocalProtocolError


class State(enum.Enum):
    """What is to be read from the client next, if anything.

    Attributes:
        HEAD: the head of a request.
        DISCARD: the body of a request that was answered with a challenge.
        BODY: the body of a forwarded request.
        END: nothing; the forwarded request has no body, and its end is to be told.
        RESPONSE: nothing; the request is complete, and its response is not.
        CONNECT: nothing; the client waits for its tunnel.
        TUNNEL: nothing; the bytes of the tunnel go past this module.
        CLOSED: nothing; the conversation is over.
        REFUSED: nothing; the client has been told why.
    """

    HEAD = enum.auto()
    DISCARD = enum.auto()
    BODY = enum.auto()
    END = enum.auto()
    RESPONSE = enum.auto()
    CONNECT = enum.auto()
    TUNNEL = enum.auto()
    CLOSED = enum.auto()
    REFUSED = enum.auto()


class Step(enum.Enum):
    """What has happened. The values are for error messages."""

    CHALLENGED = "a challenge"
    BODY_DISCARDED = "the end of a discarded body"
    TUNNEL_REQUESTED = "a CONNECT"
    TUNNEL_OPENED = "an open tunnel"
    FORWARDED_WITH_BODY = "a request with a body"
    FORWARDED_WITHOUT_BODY = "a request without a body"
    REQUEST_ENDED = "the end of the request"
    RESPONSE_ENDED = "the end of the response"
    LAST_RESPONSE_ENDED = "the end of the last response"
    FAILED = "a failure of the request"
    CLIENT_LEFT = "the end of the client's stream"
    REFUSED = "a refusal"


TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = {
    State.HEAD: {
        Step.CHALLENGED: State.DISCARD,
        Step.TUNNEL_REQUESTED: State.CONNECT,
        Step.FORWARDED_WITH_BODY: State.BODY,
        Step.FORWARDED_WITHOUT_BODY: State.END,
        Step.CLIENT_LEFT: State.CLOSED,
        Step.REFUSED: State.REFUSED,
    },
    State.DISCARD: {
        Step.BODY_DISCARDED: State.HEAD,
        Step.REFUSED: State.REFUSED,
    },
    State.BODY: {
        Step.REQUEST_ENDED: State.RESPONSE,
        Step.LAST_RESPONSE_ENDED: State.CLOSED,
        Step.FAILED: State.CLOSED,
        Step.REFUSED: State.REFUSED,
    },
    State.END: {
        Step.REQUEST_ENDED: State.RESPONSE,
        Step.RESPONSE_ENDED: State.HEAD,
        Step.LAST_RESPONSE_ENDED: State.CLOSED,
        Step.FAILED: State.CLOSED,
    },
    State.RESPONSE: {
        Step.RESPONSE_ENDED: State.HEAD,
        Step.LAST_RESPONSE_ENDED: State.CLOSED,
        Step.FAILED: State.CLOSED,
    },
    State.CONNECT: {
        Step.TUNNEL_OPENED: State.TUNNEL,
        Step.FAILED: State.CLOSED,
    },
    State.TUNNEL: {},
    State.CLOSED: {},
    # A refusal in the midst of a body does not stop a response that has begun.
    State.REFUSED: {Step.LAST_RESPONSE_ENDED: State.REFUSED},
}


def advance(state: State, step: Step) -> State:
    """Return the state that a step leads to.

    Raises:
        LocalProtocolError: it is not allowed in this state.
    """
    try:
        return TRANSITIONS[state][step]
    except KeyError:
        raise LocalProtocolError(f"{step.value} is not allowed in the state {state.name}") from None
