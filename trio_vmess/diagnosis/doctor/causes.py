"""From what was seen to what may be wrong: pure rules, the most likely cause first.

A VMess server answers nobody whom it does not know, so most of this is about silence: how long it
lasted, how it ended, and what the same port says to others.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from trio_vmess.diagnosis.doctor.greetings import (
    UNKNOWN,
    Greeting,
    Language,
    field_of,
    language_of,
    status_of,
)
from trio_vmess.diagnosis.doctor.observation import End
from trio_vmess.diagnosis.doctor.report import Cause
from trio_vmess.errors import DialFailure

CLOCK_LIMIT: Final = 120
"""Seconds by which a request's time may differ from the server's clock."""

CLOCK_DOUBT: Final = 60
"""Seconds from which a difference is worth a word: the time of requests is randomised by 30."""

PROMPT: Final = 1.0
"""Seconds within which a server closes if it is not waiting for its handshake limit."""

_OTHER_PLACE: Final = re.compile(r" (200|404|405)\b|gRPC status (5|12)$")
"""In what a server says that has something else, or nothing, in the place that was asked for."""

_LOG: Final = "the server's log says which ('unknown user' or 'clock skew' in trio-vmess)"


@attrs.frozen(kw_only=True)
class Ending:
    """How a connection ended that got no answer.

    Attributes:
        head: what came instead of an answer.
        end: how the server ended it; None if it did not.
        silence: seconds from our last bytes to that.
        limit: seconds that were waited.
    """

    head: bytes = b""
    end: End | None = None
    silence: float | None = None
    limit: float

    @property
    def is_prompt(self) -> bool:
        """Whether the server ended it at once."""
        return self.end is not None and (self.silence or 0.0) < PROMPT

    def __str__(self) -> str:
        language = language_of(self.head)
        if language is Language.HTTP:
            return f"the server answered {status_of(self.head)}"
        if language is not Language.NOTHING:
            return f"the server answered with {language.value}"
        if self.end is None:
            return f"no answer in {self.limit:g} s"
        return f"{self.end.value} without an answer after {self.silence or 0.0:.1f} s"


# Ways to the server -------------------------------------------------------------------------------


def causes_of_name(name: str) -> Sequence[Cause]:
    """Return why a name may not be resolved."""
    return [
        Cause(
            f"the name {name} does not exist, or the name servers of this machine do not answer",
            f"check the server's address ({name}), then this machine's DNS",
        )
    ]


def causes_of_dial(reason: DialFailure | None, server: str) -> Sequence[Cause]:
    """Return why no TCP connection was made; a reason of None stands for silence."""
    if reason is DialFailure.REFUSED:
        return [
            Cause(
                f"nothing listens on {server}, or a firewall rejects connections",
                f"start the server, or correct the port: nothing listens on {server}",
            )
        ]
    if reason in (None, DialFailure.TIMED_OUT):
        return [
            Cause(
                "a firewall drops the packets, or the machine is off",
                f"open the port in the server's firewall (and its provider's): {server} does not "
                "answer at all",
            ),
            Cause("the address is not the server's", "compare the address with the server's"),
        ]
    return [
        Cause(
            f"there is no way to {server} from here",
            "check this machine's network and the server's address",
        )
    ]


def causes_of_tls(ending: Ending, fault: str, plain: Greeting) -> Sequence[Cause]:
    """Return why TLS was not agreed on.

    Args:
        ending: of the connection below.
        fault: what the layer said.
        plain: what the port answers to HTTP without TLS.
    """
    # Whoever sends a record of TLS speaks it, so the two sides disagree about something in it.
    if language_of(ending.head) is Language.TLS:
        return [Cause(fault, _certificate_remedy(fault))]
    no_tls = (
        "turn TLS off in the link or outbound, turn it on at the server, or correct the port: "
        "the server does not speak TLS on this port"
    )
    heads = (ending.head, plain.head)
    if any(language_of(head) is Language.HTTP for head in heads):
        return [Cause(f"an HTTP server without TLS is there{_server_of(*heads)}", no_tls)]
    if ending.head:
        return [Cause("a protocol without TLS is spoken there", no_tls)]
    if ending.end is None or not ending.is_prompt:
        return [
            Cause(
                "the port takes a TLS handshake in silence, as a VMess server without TLS does",
                no_tls,
            ),
            Cause(
                "something on the way drops TLS handshakes by their server name",
                "try another server name, or another network",
            ),
        ]
    return [
        Cause("the port closes the connection when a TLS handshake begins", no_tls),
        Cause(
            "the server, or something on the way, does not accept the server name",
            "compare the server name (sni) with the server's",
        ),
    ]


def _certificate_remedy(fault: str) -> str:
    if "has expired" in fault or "not valid yet" in fault:
        return "renew the server's certificate (and check the date of this machine)"
    if "another name" in fault or "is a name of" in fault:
        return (
            "correct the server name (sni) in the link or outbound: it must be one of the "
            "certificate's names"
        )
    if "self-signed" in fault:
        return (
            "pin the hash of the server's certificate or make it a root, or have it issued by a "
            "public authority: it is self-signed"
        )
    if "unknown here" in fault:
        return (
            "let the server send the whole chain of its certificate, or make its authority a root"
        )
    if "pinned" in fault:
        return "pin the certificate that the server has now, if you trust it"
    return f"make both ends agree on TLS: {fault}"


def causes_of_carrier(carrier: str, ending: Ending, fault: str, tls: Greeting) -> Sequence[Cause]:
    """Return why a carrier's tunnel was not opened.

    Args:
        carrier: its name, for people.
        ending: of the connection below.
        fault: what the layer said; empty if there was no answer.
        tls: what the port answers to a TLS handshake; empty where TLS is used already.
    """
    if tls.certificate or language_of(ending.head) is Language.TLS:
        return [_speaks_tls(tls)]
    language = language_of(ending.head)
    status = status_of(ending.head) if language is Language.HTTP else fault
    if re.search(_OTHER_PLACE, status):
        return [
            Cause(
                f"the path or Host is not the server's{_server_of(ending.head)}",
                "correct the path (and the Host, or the service name) in the link or outbound: "
                "they must be those of the server",
            )
        ]
    if language in (Language.HTTP, Language.HTTP_2):
        return [Cause(fault or status, f"find out why: {fault or status}")]
    if not ending.head:
        return [
            Cause(
                f"the port takes a request for {carrier} in silence, as a VMess server without "
                "that transport does",
                "make both ends agree on the transport: the server does not seem to have "
                f"{carrier} on this port",
            )
        ]
    return [
        Cause(
            fault or "another protocol is spoken there",
            f"make both ends agree on the transport, {carrier}",
        )
    ]


def _speaks_tls(tls: Greeting) -> Cause:
    shown = f" ({tls.certificate})" if tls.certificate else ""
    return Cause(
        f"the port speaks TLS{shown}",
        "turn TLS on in the link or outbound, or correct the port: the server speaks TLS there",
    )


def _server_of(*heads: bytes) -> str:
    name = next(filter(None, (field_of(head, "server") for head in heads)), "")
    return f" (it calls itself {name[:60]!r})" if name else ""


# VMess --------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Refused:
    """What was seen when a server did not answer a request.

    Attributes:
        ending: of the request's connection.
        alter_id: that of the client.
        accepted_alter_id: one with which the server did answer; None if there is none.
        clock_offset: seconds by which our clock is ahead of the server's; None if it is not known.
        uses_tls: whether TLS is configured.
        has_carrier: whether a carrier is.
        http: what the port answers to an HTTP request.
        tls: what it answers to a TLS handshake; empty where TLS is used already.
    """

    ending: Ending
    alter_id: int
    accepted_alter_id: int | None = None
    clock_offset: int | None = None
    uses_tls: bool = False
    has_carrier: bool = False
    http: Greeting = UNKNOWN
    tls: Greeting = UNKNOWN


def causes_of_refusal(seen: Refused) -> Sequence[Cause]:
    """Return why a server may not have answered a request."""
    return list(_causes_of_refusal(seen))


def _causes_of_refusal(seen: Refused) -> Iterator[Cause]:
    head = seen.ending.head
    if seen.accepted_alter_id is not None:
        yield Cause(
            f"the server answers with alterId {seen.accepted_alter_id}",
            f"set alterId to {seen.accepted_alter_id} in the link or outbound",
        )
        return
    if not seen.uses_tls and (seen.tls.certificate or language_of(head) is Language.TLS):
        yield _speaks_tls(seen.tls)
        return
    answers = [head, seen.http.head]
    speaks_http = any(language_of(each) in (Language.HTTP, Language.HTTP_2) for each in answers)
    if speaks_http and not seen.has_carrier:
        yield Cause(
            f"an HTTP server is there{_server_of(*answers)}",
            "correct the transport (such as WebSocket with its path) or the port: an HTTP server "
            "answers where bare VMess is expected",
        )
    elif head:
        yield Cause(
            "what answers does not speak VMess",
            "correct the port or the transport: the server answers with something else than VMess",
        )
    yield from _causes_of_silence(seen)


def _causes_of_silence(seen: Refused) -> Iterator[Cause]:
    offset = seen.clock_offset
    if offset is not None and abs(offset) > CLOCK_LIMIT:
        yield Cause(
            f"the clocks differ by {abs(offset)} s, and {CLOCK_LIMIT} s are allowed",
            f"set this machine's clock (or the server's): it is {abs(offset)} s "
            f"{'ahead of' if offset > 0 else 'behind'} the server's",
        )
    elif offset is not None:
        yield Cause(
            "the server does not know the user id: the clocks agree, so it is not the time",
            "compare the user id with the server's",
        )
    else:
        yield Cause(
            "the server does not know the user id, or the two clocks differ by more than "
            f"{CLOCK_LIMIT} s: both look alike from here",
            "run 'date -u' on both machines: if they differ by two minutes or more, set the clock; "
            f"if not, compare the user id with the server's; {_LOG}",
        )
    if seen.alter_id:
        yield Cause(
            "the server does not know this alterId",
            "set alterId to 0 on both sides (AEAD headers), or to the same number",
        )
    if seen.ending.end is End.RESET:
        yield Cause(
            "a firewall on the way resets connections that it does not recognise",
            "try another network, or TLS and WebSocket on port 443 at both ends",
        )
    if seen.ending.is_prompt:
        yield Cause(
            "the server accepts the user, but does not reach the destination, and has no mux to "
            "find that out with",
            "look at the server's log, and try another --target",
        )
    if not seen.has_carrier:
        yield Cause(
            "another protocol is spoken on this port, such as Shadowsocks or Trojan",
            "compare the protocol and the port with the server's",
        )


# Behind the server --------------------------------------------------------------------------------


def causes_of_request(target: str, *, is_silent: bool) -> Sequence[Cause]:
    """Return why a server that accepts the user brings no answer of the target.

    Args:
        target: its host and port.
        is_silent: nothing came, not even an end.
    """
    what = f"the server accepts you, but does not reach {target}"
    if is_silent:
        what = f"the server accepts you, but nothing comes back from {target}"
    return [
        Cause(
            what,
            f"look at the server's log and its routing and outbounds: it does not bring an answer "
            f"of {target}; another --target shows whether it reaches anything",
        ),
        Cause(f"{target} itself is down", "try another --target"),
    ]


def causes_of_udp(server: str) -> Sequence[Cause]:
    """Return why datagrams get no answer while streams do."""
    return [
        Cause(
            f"the server does not bring an answer of {server} by UDP",
            "allow UDP on the server, in its firewall and its routing; until then, programs that "
            "need UDP (QUIC, games, calls) will not work",
        ),
        Cause(f"{server} is no name server that the server can reach", "try another --dns"),
    ]


def causes_of_mux() -> Sequence[Cause]:
    """Return why mux does not work while single connections do."""
    return [
        Cause(
            "the server does not serve Mux.Cool",
            "switch mux off in the link or outbound: the server answers without it",
        )
    ]
