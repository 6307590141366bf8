"""How queries are encoded, and which replies are accepted."""

import socket

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.kit.name_server import addresses
from trio_vmess.dns.answers import Query
from trio_vmess.dns.wire import PAYLOAD_SIZE, QueryMessage
from trio_vmess.errors import DialError

A = Query("www.example", socket.AF_INET)
AAAA = Query("www.example", socket.AF_INET6)


def response_to(message: QueryMessage, *records: dns.rrset.RRset) -> dns.message.Message:
    response = dns.message.make_response(dns.message.from_wire(message.wire))
    response.answer += records
    return response


def record(kind: str, *texts: str, name: str = "www.example.", ttl: int = 60) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, ttl, "IN", kind, *texts)


@pytest.mark.parametrize(("query", "kind"), [(A, "A"), (AAAA, "AAAA")])
def test_a_query_asks_for_one_type_of_one_name(query: Query, kind: str) -> None:
    message = dns.message.from_wire(QueryMessage(query).wire)
    (asked,) = message.question
    assert asked.to_text() == f"www.example. IN {kind}"
    assert message.flags & dns.flags.RD
    assert message.payload == PAYLOAD_SIZE
    assert message.options == ()


@pytest.mark.parametrize(
    ("client", "told"),
    [("192.0.2.77", "ECS 192.0.2.0/24"), ("2001:db8:1:2:3:4:5:6", "ECS 2001:db8:1:2:3:4::/96")],
)
def test_a_part_of_the_clients_address_is_in_the_query(client: str, told: str) -> None:
    (address,) = addresses(client)
    message = dns.message.from_wire(QueryMessage(A, address).wire)
    (option,) = message.options
    assert option.to_text().startswith(told.rpartition("/")[0].split("::")[0])
    assert f"/{told.rpartition('/')[2]}" in option.to_text()


def test_message_ids_are_random() -> None:
    assert len({QueryMessage(A).wire[:2] for _ in range(50)}) > 40


def test_a_reply_gives_addresses_and_ttl() -> None:
    message = QueryMessage(A)
    reply = message.read(response_to(message, record("A", "192.0.2.1", "192.0.2.2")).to_wire())
    assert reply is not None
    assert sorted(reply.answer.addresses) == addresses("192.0.2.1", "192.0.2.2")
    assert reply.answer.ttl == 60
    assert not reply.is_truncated


def test_aliases_are_followed_and_the_smallest_ttl_counts() -> None:
    message = QueryMessage(AAAA)
    records = (
        record("CNAME", "a.example.", ttl=30),
        record("CNAME", "b.example.", name="a.example.", ttl=500),
        record("AAAA", "2001:db8::1", name="b.example.", ttl=600),
        record("AAAA", "2001:db8::bad", name="elsewhere.example."),
    )
    reply = message.read(response_to(message, *records).to_wire())
    assert reply is not None
    assert list(reply.answer.addresses) == addresses("2001:db8::1")
    assert reply.answer.ttl == 30


@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
def test_a_negative_answer_has_the_ttl_of_the_soa_record(rcode: dns.rcode.Rcode) -> None:
    message = QueryMessage(A)
    response = response_to(message)
    response.set_rcode(rcode)
    soa = "ns.example. admin.example. 1 7200 900 1209600 20"
    response.authority.append(dns.rrset.from_text("example.", 900, "IN", "SOA", soa))
    reply = message.read(response.to_wire())
    assert reply is not None
    assert reply.answer.addresses == ()
    assert reply.answer.ttl == 20


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
def test_an_error_reply_is_a_dial_error(rcode: dns.rcode.Rcode) -> None:
    message = QueryMessage(A)
    response = response_to(message)
    response.set_rcode(rcode)
    with pytest.raises(DialError, match=f"the server answered {dns.rcode.to_text(rcode)}"):
        message.read(response.to_wire())


def test_a_loop_of_aliases_is_malformed() -> None:
    message = QueryMessage(A)
    records = (
        record("CNAME", "b.example."),
        record("CNAME", "www.example.", name="b.example."),
    )
    with pytest.raises(DialError, match="reply is malformed: ChainTooLong"):
        message.read(response_to(message, *records).to_wire())


def test_anything_but_a_reply_to_the_query_is_ignored() -> None:
    message, other = QueryMessage(A), QueryMessage(AAAA)
    wire = response_to(message, record("A", "192.0.2.1")).to_wire()
    wrong_number = bytes([wire[0] ^ 1]) + wire[1:]
    foreign = dns.message.make_response(dns.message.from_wire(other.wire))
    foreign.id = message.dns_message.id
    for data in (b"", b"\0", wrong_number, message.wire, foreign.to_wire(), wire[:-3]):
        assert message.read(data) is None


def test_a_truncated_reply_is_marked() -> None:
    message = QueryMessage(A)
    response = response_to(message)
    response.flags |= dns.flags.TC
    reply = message.read(response.to_wire())
    assert reply is not None
    assert reply.is_truncated


@given(st.binary(max_size=80))
def test_noise_is_ignored(noise: bytes) -> None:
    message = QueryMessage(A)
    assert message.read(noise) is None


@given(st.integers(2, 60), st.integers(1, 255))
def test_a_damaged_reply_raises_nothing_but_a_dial_error(place: int, change: int) -> None:
    message = QueryMessage(A)
    wire = bytearray(response_to(message, record("A", "192.0.2.1")).to_wire())
    wire[place % len(wire)] ^= change
    try:
        reply = message.read(bytes(wire))
    except DialError:
        return
    assert reply is None or len(reply.answer.addresses) <= 1


@pytest.mark.parametrize("name", ["a" * 64 + ".example", ".".join(["abcdefg"] * 40), "a..example"])
def test_an_invalid_name_is_a_dial_error(name: str) -> None:
    with pytest.raises(DialError, match="is not a valid domain name"):
        QueryMessage(Query(name, socket.AF_INET))
