"""The SOCKS and HTTP outbounds through parent proxies on loopback."""

import ipaddress
import socket

import pytest
import trio
import trio.testing

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.parent_proxy import Handler, open_parent_proxy, proxy_handler, scripted_handler
from tests.kit.ports import free_port
from tests.kit.scripted_remote import ScriptedRemote, open_remote
from trio_vmess.contracts import StreamSide
from trio_vmess.core import Destination, Flow, Network, Policy
from trio_vmess.core.socks import ReplyCode
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.inbound import HttpInbound, SocksInbound
from trio_vmess.outbound import HttpOutbound, ParentProxy, SocksOutbound, parent_proxy
from trio_vmess.outbound import socks as socks_module
from trio_vmess.transport.dial import dial

TARGET = Destination(host="example.com", port=443)
FLOW = Flow(destination=TARGET)
UDP_FLOW = Flow(destination=Destination(host="example.com", port=53, network=Network.UDP))
LOOPBACK = ipaddress.ip_address(IPV4_LOOPBACK)
Kind = type[SocksOutbound] | type[HttpOutbound]
BOTH = pytest.mark.parametrize("kind", [SocksOutbound, HttpOutbound])
HELLO = b"\x05\x01\x00"
ZEROS = b"\x01\x00\x00\x00\x00\x00\x00"


def server(port: int, user: str | None = None, password: str | None = None) -> ParentProxy:
    return ParentProxy(host=LOOPBACK, port=port, user=user, password=password)


def socks_inbound(
    remote: ScriptedRemote, *, accounts: dict[str, str] | None = None
) -> SocksInbound:
    return SocksInbound(
        remote.dispatch,
        tag="",
        level=0,
        accounts=accounts,
        udp=True,
        udp_address=None,
    )


def inbound(
    kind: Kind, remote: ScriptedRemote, accounts: dict[str, str] | None
) -> SocksInbound | HttpInbound:
    if kind is SocksOutbound:
        return socks_inbound(remote, accounts=accounts)
    return HttpInbound(remote.dispatch, tag="", policy=Policy(), level=0, accounts=accounts)


async def receive(side: StreamSide, size: int) -> bytes:
    buffer = memoryview(bytearray(size))
    received = side.early
    while len(received) < size and (count := await side.transport.receive_into(buffer)):
        received += buffer[:count]
    return received


@BOTH
@pytest.mark.parametrize("accounts", [None, {"ann": "secret"}])
async def test_a_stream_goes_through_the_proxy(kind: Kind, accounts: dict[str, str] | None) -> None:
    async with (
        open_remote() as remote,
        open_parent_proxy(proxy_handler(inbound(kind, remote, accounts))) as port,
    ):
        login = ("ann", "secret") if accounts else (None, None)
        outbound = kind(tag="up", servers=[server(port, *login)], connect=dial)
        side = (await outbound.connect(FLOW)).remote
        await side.transport.send_all(b"ping")
        assert await receive(side, 4) == b"ping"
        assert side.transport.local is not None
        assert side.transport.local.host == LOOPBACK
        assert [(flow.destination, flow.user.email) for flow in remote.outbound.flows] == [
            (TARGET, "ann" if accounts else "")
        ]
        await side.transport.aclose()


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (SocksOutbound, b"\x05\x00" + b"\x05\x00\x00" + ZEROS[:-1] + b"\x00" + b"banner"),
        (HttpOutbound, b"HTTP/1.1 200 OK\r\n\r\nbanner"),
    ],
)
async def test_bytes_after_the_reply_become_early_data(kind: Kind, answer: bytes) -> None:
    first = HELLO if kind is SocksOutbound else b"\r\n\r\n"
    async with open_parent_proxy(scripted_handler(answer, after=first)) as port:
        side = (await kind(tag="", servers=[server(port)], connect=dial).connect(FLOW)).remote
        assert await receive(side, 6) == b"banner"
        await side.transport.aclose()


async def refusal(outbound: SocksOutbound | HttpOutbound) -> DialError:
    with pytest.raises(DialError) as caught:
        await outbound.connect(FLOW)
    return caught.value


@pytest.mark.parametrize("code", [code for code in ReplyCode if code is not ReplyCode.SUCCEEDED])
async def test_each_socks_reply_code_has_a_dial_failure(code: ReplyCode) -> None:
    answer = b"\x05\x00" + bytes([5, code, 0]) + ZEROS
    async with open_parent_proxy(scripted_handler(answer, after=HELLO)) as port:
        error = await refusal(SocksOutbound(tag="", servers=[server(port)], connect=dial))
    assert error.reason is socks_module.FAILURES[code]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, DialFailure.FORBIDDEN),
        (407, DialFailure.PARENT_PROXY),
        (502, DialFailure.HOST_UNREACHABLE),
        (503, DialFailure.PARENT_PROXY),
        (504, DialFailure.TIMED_OUT),
    ],
)
async def test_each_http_status_has_a_dial_failure(status: int, reason: DialFailure) -> None:
    answer = b"HTTP/1.1 %d Why\r\nContent-Length: 0\r\n\r\n" % status
    async with open_parent_proxy(scripted_handler(answer, after=b"\r\n\r\n")) as port:
        error = await refusal(HttpOutbound(tag="", servers=[server(port)], connect=dial))
    assert error.reason is reason
    assert f"{status} Why" in str(error)


@BOTH
@pytest.mark.parametrize("answer", [b"", b"rubbish that is no answer\r\n\r\n"])
async def test_a_server_without_a_valid_reply_is_a_dial_error(kind: Kind, answer: bytes) -> None:
    first = HELLO if kind is SocksOutbound else b"\r\n\r\n"
    async with open_parent_proxy(scripted_handler(answer, after=first, then_close=True)) as port:
        error = await refusal(kind(tag="", servers=[server(port)], connect=dial))
    assert error.reason is DialFailure.PARENT_PROXY
    assert f"127.0.0.1:{port}" in str(error)


@BOTH
async def test_a_silent_server_times_out(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent_proxy, "NEGOTIATION_TIMEOUT", 0.05)
    async with open_parent_proxy(scripted_handler(b"", after=b"never")) as port:
        error = await refusal(kind(tag="", servers=[server(port)], connect=dial))
    assert error.reason is DialFailure.PARENT_PROXY
    assert "negotiation timed out" in str(error)


@BOTH
async def test_a_wrong_password_is_a_dial_error(kind: Kind) -> None:
    async with (
        open_remote() as remote,
        open_parent_proxy(proxy_handler(inbound(kind, remote, {"ann": "secret"}))) as port,
    ):
        error = await refusal(kind(tag="", servers=[server(port, "ann", "wrong")], connect=dial))
        assert error.reason is DialFailure.PARENT_PROXY
        assert remote.outbound.flows == []
    assert "wrong" not in str(error)


@BOTH
async def test_servers_take_turns_and_replace_one_that_is_down(kind: Kind) -> None:
    async with open_remote() as one, open_remote() as two:
        async with (
            open_parent_proxy(proxy_handler(inbound(kind, one, None))) as first,
            open_parent_proxy(proxy_handler(inbound(kind, two, None))) as second,
        ):
            ports = [first, free_port(), second]
            outbound = kind(tag="", servers=[server(port) for port in ports], connect=dial)
            for _ in range(3):
                await (await outbound.connect(FLOW)).remote.transport.aclose()
        # The second turn was the refused port's; the next server replaced it.
        assert (len(one.outbound.flows), len(two.outbound.flows)) == (1, 2)


@BOTH
async def test_all_servers_down_is_a_dial_error(kind: Kind) -> None:
    error = await refusal(
        kind(tag="", servers=[server(free_port()), server(free_port())], connect=dial)
    )
    assert error.reason is DialFailure.PARENT_PROXY


@BOTH
def test_an_empty_server_list_is_refused(kind: Kind) -> None:
    with pytest.raises(ValueError, match="expected at least one parent proxy"):
        kind(tag="", servers=[], connect=dial)


def test_passwords_are_not_printed() -> None:
    assert "secret" not in repr(server(1, "ann", "secret"))


async def test_a_host_too_long_for_socks_is_unsupported() -> None:
    flow = Flow(destination=Destination(host="a" * 256, port=1))
    async with open_parent_proxy(scripted_handler(b"", after=b"never")) as port:
        with pytest.raises(DialError) as caught:
            await SocksOutbound(tag="", servers=[server(port)], connect=dial).connect(flow)
    assert caught.value.reason is DialFailure.UNSUPPORTED


@BOTH
async def test_cancelling_closes_the_connection(kind: Kind) -> None:
    ended = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        while await stream.receive_some(65536):
            pass
        ended.set()

    async with open_parent_proxy(handle) as port:
        with trio.move_on_after(0.01) as scope:
            await kind(tag="", servers=[server(port)], connect=dial).connect(FLOW)
        assert scope.cancelled_caught
        await ended.wait()


# Datagrams --------------------------------------------------------------------------------------


async def test_each_udp_destination_has_an_association() -> None:
    async with (
        open_remote() as remote,
        open_parent_proxy(proxy_handler(socks_inbound(remote))) as port,
    ):
        outbound = SocksOutbound(tag="", servers=[server(port)], connect=dial, local=LOOPBACK)
        link = (await outbound.connect_packets(UDP_FLOW)).remote
        aside = Flow(destination=Destination(host="a", port=1, network=Network.UDP))
        other = (await outbound.connect_packets(aside)).remote
        await link.send([b"one"])
        assert await link.receive() == [b"udp:example.com:53: one"]
        await other.send([b"two"])
        assert await other.receive() == [b"udp:a:1: two"]
        await link.send([b"", b"three"])
        answers: list[bytes] = []
        while len(answers) < 2:
            answers += await link.receive()
        assert answers == [b"udp:example.com:53: ", b"udp:example.com:53: three"]
        await link.aclose()
        await other.aclose()
        # With the control connections, both associations end at the other proxy.
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert remote.dispatch.connections == set()
        assert remote.outbound.all_closed


def association(reply_host: bytes, relay: socket.socket) -> Handler:
    port = relay.getsockname()[1].to_bytes(2, "big")
    return scripted_handler(
        b"\x05\x00\x05\x00\x00" + reply_host + port, after=HELLO, then_close=False
    )


@pytest.mark.parametrize("reply_host", [ZEROS[:5], b"\x01\x7f\x00\x00\x01", b"\x03\x09localhost"])
async def test_datagrams_go_to_the_bound_address_of_the_reply(reply_host: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind((IPV4_LOOPBACK, 0))
        relay.settimeout(5)
        async with open_parent_proxy(association(reply_host, relay)) as port:
            if reply_host[0] == 3 and socket.getaddrinfo("localhost", 1)[0][4][0] != IPV4_LOOPBACK:
                pytest.skip("localhost is not 127.0.0.1 first")
            outbound = SocksOutbound(tag="", servers=[server(port)], connect=dial)
            link = (await outbound.connect_packets(UDP_FLOW)).remote
            await link.send([b"ping"])
            packet, client = relay.recvfrom(1000)
            assert packet == b"\x00\x00\x00\x03\x0bexample.com\x00\x35ping"
            # Datagrams without a valid header are dropped; the address in a valid one is ignored.
            relay.sendto(b"rubbish", client)
            relay.sendto(b"\x00\x00\x01\x01\x01\x02\x03\x04\x00\x35fragment", client)
            relay.sendto(b"\x00\x00\x00\x01\x01\x02\x03\x04\x00\x35pong", client)
            assert await link.receive() == [b"pong"]
            await link.aclose()


async def test_the_link_ends_with_its_connection() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind((IPV4_LOOPBACK, 0))
        port = relay.getsockname()[1].to_bytes(2, "big")
        hang_up = trio.Event()

        async def handle(stream: trio.SocketStream) -> None:
            await stream.send_all(b"\x05\x00\x05\x00\x00" + ZEROS[:5] + port)
            await stream.receive_some(1000)
            await hang_up.wait()

        async with open_parent_proxy(handle) as tcp_port:
            outbound = SocksOutbound(tag="", servers=[server(tcp_port)], connect=dial)
            link = (await outbound.connect_packets(UDP_FLOW)).remote
            await link.send([b"ping"])
            hang_up.set()
            assert await link.receive() == []
            with pytest.raises(trio.BrokenResourceError, match="ended the association"):
                await link.send([b"ping"])
            await link.aclose()


async def test_a_server_that_refuses_udp_associate() -> None:
    answer = b"\x05\x00\x05\x07\x00" + ZEROS
    async with open_parent_proxy(scripted_handler(answer, after=HELLO)) as port:
        with pytest.raises(DialError) as caught:
            await SocksOutbound(tag="", servers=[server(port)], connect=dial).connect_packets(
                UDP_FLOW
            )
    assert caught.value.reason is DialFailure.UNSUPPORTED


async def test_http_carries_no_datagrams() -> None:
    with pytest.raises(DialError) as caught:
        await HttpOutbound(tag="", servers=[server(1)], connect=dial).connect_packets(UDP_FLOW)
    assert caught.value.reason is DialFailure.UNSUPPORTED
