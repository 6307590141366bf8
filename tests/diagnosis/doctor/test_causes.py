"""What is said to be wrong, by what was seen: the rules alone, without a network."""

import pytest

from trio_vmess.diagnosis.doctor import causes
from trio_vmess.diagnosis.doctor.causes import Ending, Refused, causes_of_refusal
from trio_vmess.diagnosis.doctor.greetings import Greeting, Language, date_of, field_of, language_of
from trio_vmess.diagnosis.doctor.observation import End
from trio_vmess.errors import DialFailure

HTTP = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n"
ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"

SILENT = Ending(limit=6.0)
CLOSED_LATE = Ending(end=End.CLOSED, silence=4.0, limit=6.0)
CLOSED_AT_ONCE = Ending(end=End.CLOSED, silence=0.01, limit=6.0)
RESET = Ending(end=End.RESET, silence=0.01, limit=6.0)


@pytest.mark.parametrize(
    ("head", "language"),
    [
        (b"", Language.NOTHING),
        (HTTP, Language.HTTP),
        (ALERT, Language.TLS),
        (b"\x16\x03\x01\x00\xf8", Language.TLS),
        (SETTINGS, Language.HTTP_2),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Language.OTHER),
        (b"\x00", Language.OTHER),
    ],
)
def test_the_first_bytes_of_a_server_are_recognised(head: bytes, language: Language) -> None:
    assert language_of(head) is language


def test_fields_are_read_from_the_head_alone() -> None:
    assert date_of(HTTP) == 1_700_000_000
    assert field_of(HTTP, "server") == "nginx"
    assert field_of(HTTP, "date").endswith("GMT")
    assert date_of(b"HTTP/1.1 200 OK\r\n\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n") is None


@pytest.mark.parametrize("date", [b"", b"yesterday", b"Tue, 99 Nov 2023 22:13:20 GMT"])
def test_a_date_that_is_none_is_ignored(date: bytes) -> None:
    assert date_of(b"HTTP/1.1 200 OK\r\nDate: " + date + b"\r\n\r\n") is None


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (SILENT, "no answer in 6 s"),
        (CLOSED_LATE, "closed without an answer after 4.0 s"),
        (RESET, "reset without an answer after 0.0 s"),
        (Ending(head=HTTP, limit=6.0), "the server answered HTTP/1.1 400 Bad Request"),
        (Ending(head=ALERT, limit=6.0), "the server answered with TLS"),
        (Ending(head=b"SSH-2.0", limit=6.0), "the server answered with something else"),
    ],
)
def test_an_ending_is_said_in_one_line(ending: Ending, text: str) -> None:
    assert str(ending) == text


def first(seen: Refused) -> str:
    return causes_of_refusal(seen)[0].remedy


@pytest.mark.parametrize("ending", [SILENT, CLOSED_LATE, CLOSED_AT_ONCE, RESET])
def test_silence_is_the_id_or_the_clock(ending: Ending) -> None:
    found = first(Refused(ending=ending, alter_id=0))
    assert "date -u" in found
    assert "user id" in found


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (0, "compare the user id"),
        (-120, "compare the user id"),
        (121, "121 s ahead of the server's"),
        (-4000, "4000 s behind the server's"),
    ],
)
def test_a_date_tells_the_id_from_the_clock(offset: int, words: str) -> None:
    assert words in first(Refused(ending=CLOSED_LATE, alter_id=0, clock_offset=offset))


@pytest.mark.parametrize("accepted", [0, 1])
def test_an_alter_id_that_is_answered_needs_no_other_cause(accepted: int) -> None:
    seen = Refused(ending=SILENT, alter_id=1 - accepted, accepted_alter_id=accepted)
    (found,) = causes_of_refusal(seen)
    assert found.remedy == f"set alterId to {accepted} in the link or outbound"


def test_an_alter_id_may_be_wrong_without_a_proof() -> None:
    assert any(
        "alterId" in each.what for each in causes_of_refusal(Refused(ending=SILENT, alter_id=4))
    )
    assert not any(
        "alterId" in each.what for each in causes_of_refusal(Refused(ending=SILENT, alter_id=0))
    )


@pytest.mark.parametrize(
    "seen",
    [
        Refused(ending=Ending(head=ALERT, limit=6.0), alter_id=0),
        Refused(ending=CLOSED_AT_ONCE, alter_id=0, tls=Greeting(certificate="one for a.example")),
    ],
)
def test_a_port_with_tls_is_told_from_a_wrong_id(seen: Refused) -> None:
    (found,) = causes_of_refusal(seen)
    assert "turn TLS on" in found.remedy


def test_alerts_inside_tls_are_no_reason_to_turn_it_on() -> None:
    seen = Refused(ending=Ending(head=ALERT, limit=6.0), alter_id=0, uses_tls=True)
    assert "something else than VMess" in first(seen)


@pytest.mark.parametrize(
    "seen",
    [
        Refused(ending=Ending(head=HTTP, limit=6.0), alter_id=0),
        Refused(ending=CLOSED_AT_ONCE, alter_id=0, http=Greeting(head=HTTP)),
        Refused(ending=SILENT, alter_id=0, http=Greeting(head=SETTINGS)),
    ],
)
def test_a_web_server_comes_before_a_wrong_id(seen: Refused) -> None:
    found = causes_of_refusal(seen)
    assert "correct the transport" in found[0].remedy
    # One that shows strangers a web site does so to those with a wrong id, too.
    assert any("user id" in each.what for each in found[1:])


def test_a_web_server_is_expected_around_a_carrier() -> None:
    seen = Refused(ending=CLOSED_LATE, alter_id=0, has_carrier=True, http=Greeting(head=HTTP))
    assert "date -u" in first(seen)


@pytest.mark.parametrize(
    ("ending", "is_said"), [(RESET, True), (CLOSED_AT_ONCE, False), (SILENT, False)]
)
def test_only_a_reset_hints_at_a_firewall(ending: Ending, is_said: bool) -> None:
    found = causes_of_refusal(Refused(ending=ending, alter_id=0))
    assert any("firewall" in each.what for each in found) is is_said


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (DialFailure.REFUSED, "nothing listens"),
        (DialFailure.TIMED_OUT, "firewall"),
        (None, "firewall"),
        (DialFailure.NETWORK_UNREACHABLE, "network"),
    ],
)
def test_a_dial_that_fails(reason: DialFailure | None, words: str) -> None:
    assert words in causes.causes_of_dial(reason, "vpn.example:443")[0].remedy


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("TLS with a: it has expired; if not, check this machine's clock (…)", "renew"),
        ("TLS with a: it is for another name; `server_name` says which", "server name (sni)"),
        ("TLS with a: it is self-signed; make it a root", "self-signed"),
        ("TLS with a: it was issued by an authority that is unknown here", "whole chain"),
        ("TLS with a: no pinned hash is that of the certificate", "pin"),
        ("TLS with a: tlsv1 alert protocol version", "tlsv1 alert protocol version"),
    ],
)
def test_a_certificate_that_is_not_accepted(fault: str, words: str) -> None:
    (found,) = causes.causes_of_tls(Ending(head=ALERT, limit=6.0), fault, Greeting())
    assert words in found.remedy


@pytest.mark.parametrize("ending", [SILENT, CLOSED_LATE, CLOSED_AT_ONCE])
def test_tls_that_nobody_answers(ending: Ending) -> None:
    found = causes.causes_of_tls(ending, "", Greeting())
    assert "turn TLS off" in found[0].remedy
    assert "server name" in found[1].remedy


@pytest.mark.parametrize(
    ("fault", "head", "words"),
    [
        ("websocket: the server answered 404", HTTP.replace(b"400", b"404"), "correct the path"),
        ("the server answered 404", SETTINGS, "correct the path"),
        ("the server ended the call with gRPC status 12", SETTINGS, "correct the path"),
        ("the server answered 502: it is not reached", HTTP.replace(b"400", b"502"), "502"),
        ("not HTTP/1.1", b"SSH-2.0", "make both ends agree on the transport"),
        ("", b"", "make both ends agree on the transport"),
    ],
)
def test_a_tunnel_that_is_not_opened(fault: str, head: bytes, words: str) -> None:
    ending = Ending(head=head, limit=6.0)
    assert words in causes.causes_of_carrier("WebSocket /", ending, fault, Greeting())[0].remedy
