"""The HTTP inbound over memory streams: tunnels, forwarded requests, keep-alive."""

import base64
import logging

import pytest
import trio
import trio.testing

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.inbound_client import LOCAL, SOURCE, InboundClient, open_client
from tests.kit.scripted_remote import ScriptedRemote, open_remote
from tests.kit.web_server import ReceivedRequest, WebServers
from trio_vmess.contracts import Dispatch
from trio_vmess.core import Destination, Flow, Policy, User
from trio_vmess.errors import DialFailure
from trio_vmess.inbound import HttpInbound
from trio_vmess.inbound.http import FLOW_LINGER

TUNNEL = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
WEB = Destination(host="example.com", port=80)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def inbound(
    dispatch: Dispatch,
    *,
    policy: Policy | None = None,
    accounts: dict[str, str] | None = None,
    allow_transparent: bool = False,
) -> HttpInbound:
    return HttpInbound(
        dispatch,
        tag="web",
        policy=policy or Policy(),
        level=2,
        accounts=accounts,
        allow_transparent=allow_transparent,
    )


def request(path: str, *, method: str = "GET", headers: bytes = b"") -> bytes:
    start = f"{method} http://example.com/{path} HTTP/1.1\r\nHost: example.com\r\n"
    return start.encode() + headers + b"\r\n"


def response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def name_the_path(received: ReceivedRequest) -> bytes:
    return response(received.method + b" " + received.target)


async def receive_response(client: InboundClient) -> tuple[bytes, bytes]:
    """Return head and body of a response with a length."""
    head = await client.receive_until(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
    return head, await client.receive(int(lines[b"content-length"]))


# CONNECT ----------------------------------------------------------------------------------------


async def test_connect_opens_a_tunnel(autojump_clock: trio.testing.MockClock) -> None:
    async with open_remote() as remote, open_client(inbound(remote.dispatch)) as client:
        await client.send(TUNNEL + b"early")
        assert await client.receive(len(ESTABLISHED) + 5) == ESTABLISHED + b"early"
        await client.stream.send_eof()
        assert await client.receive_rest() == b""
        destination = Destination(host="example.com", port=443)
        flow = Flow(destination=destination, source=SOURCE, inbound_tag="web", user=User(level=2))
        assert remote.outbound.flows == [flow]
        await client.returned.wait()
        assert remote.outbound.all_closed


@pytest.mark.parametrize("failure", list(DialFailure))
@pytest.mark.parametrize("sent", [TUNNEL, request("")])
async def test_an_unreachable_destination_is_answered_with_503(
    sent: bytes, failure: DialFailure, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        open_remote(failure=failure) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(sent)
        head, body = await receive_response(client)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert failure.value.encode() in body
        assert await client.receive_rest() == b""


async def test_what_is_no_connect_has_its_protocol(autojump_clock: trio.testing.MockClock) -> None:
    async with open_remote(WebServers(name_the_path).script) as remote:
        async with open_client(inbound(remote.dispatch)) as client:
            await client.send(request("x"))
            await receive_response(client)
        async with open_client(inbound(remote.dispatch)) as client:
            await client.send(TUNNEL)
            await client.receive(len(ESTABLISHED))
        assert [flow.request_protocol for flow in remote.outbound.flows] == ["http/1.1", ""]


async def test_rules_can_ask_for_what_a_request_has(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_remote(WebServers(name_the_path).script) as remote:
        asked = HttpInbound(
            remote.dispatch,
            tag="web",
            policy=Policy(),
            level=0,
            accounts=None,
            has_attributes=True,
        )
        headers = b"X-One: 1\r\nX-One: 2\r\nProxy-Connection: keep-alive\r\n"
        async with open_client(asked) as client:
            await client.send(request("a%20b?c=d", method="get", headers=headers))
            await receive_response(client)
        async with open_client(asked) as client:
            await client.send(TUNNEL)
            await client.receive(len(ESTABLISHED))
        assert [flow.attributes for flow in remote.outbound.flows] == [
            {":method": "GET", ":path": "/a b", "x-one": "1"},
            None,
        ]


# Forwarding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", [True, False])
async def test_three_requests_on_one_connection(
    closes: bool, autojump_clock: trio.testing.MockClock
) -> None:
    servers = WebServers(name_the_path, closes=closes)
    async with open_remote(servers.script) as remote:
        begin = trio.current_time()
        async with open_client(inbound(remote.dispatch)) as client:
            for number in range(3):
                await client.send(request(str(number)))
                _, body = await receive_response(client)
                assert body == b"GET /%d" % number
            # The client does not have to wait for the server to close.
            assert trio.current_time() == begin
            assert [flow.destination for flow in remote.outbound.flows] == [WEB] * 3
            await client.stream.aclose()
            await client.returned.wait()
            assert trio.current_time() <= begin + FLOW_LINGER
            assert remote.outbound.all_closed
            assert remote.dispatch.connections == set()


async def test_a_flow_ends_though_its_server_never_closes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patient = Policy(downlink_only=1000.0)
    servers = WebServers(name_the_path, closes=False)
    async with (
        open_remote(servers.script, policy=patient) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request(""))
        await receive_response(client)
        await trio.sleep(FLOW_LINGER + 0.1)
        assert remote.dispatch.connections == set()
        assert remote.outbound.all_closed
        assert not client.transport.closed


async def test_pipelined_requests_are_answered_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = WebServers(name_the_path)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(b"".join(request(str(number)) for number in range(3)))
        bodies = [(await receive_response(client))[1] for _ in range(3)]
        assert bodies == [b"GET /0", b"GET /1", b"GET /2"]


async def test_a_pipelined_request_waits_for_the_response_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    body = bytes(3 << 20)
    servers = WebServers(lambda received: response(b"%d" % len(received.body)), delay=10.0)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request(""))
        await trio.sleep(1)
        length = b"Content-Length: %d\r\n" % len(body)
        head = request("", method="POST", headers=length)
        for start in range(0, len(body), 1 << 16):
            await client.send(head + body[start : start + (1 << 16)])
            await trio.sleep(0.01)
            head = b""
        assert (await receive_response(client))[1] == b"0"
        assert (await receive_response(client))[1] == b"%d" % len(body)


async def test_connect_after_a_forwarded_request(autojump_clock: trio.testing.MockClock) -> None:
    async with open_remote() as remote, open_client(inbound(remote.dispatch)) as client:
        remote.outbound.script = WebServers(name_the_path).script
        await client.send(request(""))
        await receive_response(client)
        await client.send(TUNNEL)
        assert await client.receive(len(ESTABLISHED)) == ESTABLISHED


async def test_a_half_closed_client_still_gets_a_slow_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # The idle limits of a half-closed relay must not apply before the response.
    policy = Policy(downlink_only=1.0, uplink_only=1.0)
    servers = WebServers(name_the_path, delay=9.0)
    async with (
        open_remote(servers.script, policy=policy) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request(""))
        await client.stream.send_eof()
        assert (await receive_response(client))[1] == b"GET /"


async def test_chunked_uploads(autojump_clock: trio.testing.MockClock) -> None:
    servers = WebServers(name_the_path)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        for _ in range(2):
            await client.send(request("up", method="POST", headers=CHUNKED[:-2]))
            for _ in range(3):
                await client.send(b"5\r\nhello\r\n")
                await trio.sleep(1)
            await client.send(b"0\r\n\r\n")
            assert (await receive_response(client))[1] == b"POST /up"
        for received in servers.requests:
            assert received.body == b"hello" * 3
            assert received.headers[b"connection"] == b"close"


async def test_a_large_upload_and_download(autojump_clock: trio.testing.MockClock) -> None:
    body = bytes(range(256)) * 4096
    servers = WebServers(lambda received: response(received.body))
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        length = b"Content-Length: %d\r\n" % len(body)
        await client.send(request("", method="PUT", headers=length) + body + request("next"))
        assert (await receive_response(client))[1] == body
        assert (await receive_response(client))[1] == b""


async def test_expect_continue(autojump_clock: trio.testing.MockClock) -> None:
    async def script(stream: trio.abc.HalfCloseableStream) -> None:
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await stream.receive_some(65536) == b"abc"
        await stream.send_all(response(b"thanks"))

    async with open_remote(script) as remote, open_client(inbound(remote.dispatch)) as client:
        headers = b"Expect: 100-continue\r\nContent-Length: 3\r\n"
        await client.send(request("", method="POST", headers=headers))
        assert b" 100 " in await client.receive_until(b"\r\n\r\n")
        await client.send(b"abc")
        assert (await receive_response(client))[1] == b"thanks"


async def test_responses_to_head_have_no_body(autojump_clock: trio.testing.MockClock) -> None:
    servers = WebServers(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        for _ in range(2):
            await client.send(request("", method="HEAD"))
            assert b"1000" in await client.receive_until(b"\r\n\r\n")


async def test_a_response_that_ends_with_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = WebServers(lambda _: b"HTTP/1.0 200 OK\r\n\r\nall of it")
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        for _ in range(2):
            await client.send(request(""))
            await client.receive_until(b"\r\n\r\n")
            assert await client.receive_until(b"0\r\n\r\n") == b"9\r\nall of it\r\n0\r\n\r\n"
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(b"GET http://example.com/ HTTP/1.0\r\n\r\n")
        assert (await client.receive_rest()).endswith(b"\r\n\r\nall of it")


async def test_a_response_before_the_end_of_the_request_closes_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def script(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    async with open_remote(script) as remote, open_client(inbound(remote.dispatch)) as client:
        await client.send(request("", method="POST", headers=b"Content-Length: 9\r\n") + b"abc")
        head = await client.receive_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        # The rest of the body cannot be distinguished from the next request.
        await client.send(b"def" + request(""))
        assert await client.receive_rest() == b""
        assert len(remote.outbound.flows) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", b"without a whole response"),
        (b"rubbish\r\n\r\n", b"malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10", b"without a whole response"),
    ],
)
async def test_a_server_without_a_valid_response_is_answered_with_503(
    answer: bytes, told: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    servers = WebServers(lambda _: answer)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request(""))
        head, body = await receive_response(client)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert told in body
        assert await client.receive_rest() == b""


async def test_the_idle_limit_ends_the_wait_for_a_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = Policy(connection_idle=30.0)
    servers = WebServers(name_the_path, delay=1000.0)
    async with (
        open_remote(servers.script, policy=policy) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request(""))
        head, body = await receive_response(client)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"without a response" in body
        assert 30.0 <= trio.current_time() <= 33.0


async def test_a_truncated_response_closes_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = WebServers(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request(""))
        received = await client.receive_rest()
        assert received.endswith(b"\r\n\r\nhalf")


async def test_a_malformed_chunked_body_is_answered_with_400(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = WebServers(name_the_path)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request("", method="POST", headers=CHUNKED[:-2]) + b"no chunk\r\n")
        assert (await receive_response(client))[0].startswith(b"HTTP/1.1 400 ")
        assert await client.receive_rest() == b""


async def test_bytes_after_the_response_are_dropped(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(response(b"ok") + b"rubbish")
        await trio.sleep(0.1)
        await stream.send_all(b"more rubbish")

    async with open_remote(script) as remote, open_client(inbound(remote.dispatch)) as client:
        for _ in range(2):
            await client.send(request(""))
            assert (await receive_response(client))[1] == b"ok"
            await trio.sleep(1)
    assert caplog.messages == []


async def test_a_client_that_closes_before_the_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = WebServers(name_the_path, delay=10.0)
    async with open_remote(servers.script) as remote:
        async with open_client(inbound(remote.dispatch)) as client:
            await client.send(request(""))
            await trio.sleep(1)
        assert remote.outbound.all_closed
        assert remote.dispatch.connections == set()
        assert trio.current_time() < 20


# Authentication and refusals --------------------------------------------------------------------


async def test_basic_authentication_is_required(autojump_clock: trio.testing.MockClock) -> None:
    servers = WebServers(name_the_path)
    policy = Policy(handshake=10.0)
    async with (
        open_remote(servers.script) as remote,
        open_client(
            inbound(remote.dispatch, policy=policy, accounts={"ann": "secret"}), handshake=10.0
        ) as client,
    ):
        for _ in range(2):
            await client.send(request("mine"))
            head, _ = await receive_response(client)
            assert head.startswith(b"HTTP/1.1 407 ")
            assert b'Basic realm="proxy"' in head
            # A person has to type the password: each attempt gets the full time.
            await trio.sleep(9)
        login = b"Proxy-Authorization: Basic " + base64.b64encode(b"ann:secret") + b"\r\n"
        await client.send(request("mine", headers=login))
        assert (await receive_response(client))[1] == b"GET /mine"
        users = [flow.user for flow in remote.outbound.flows]
        assert users == [User(id=b"ann", email="ann", level=2)]
        assert b"proxy-authorization" not in servers.requests[0].headers


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET ftp://example.com/ HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 "),
        (b"rubbish\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\x05\x01\x00", b""),
    ],
)
async def test_invalid_requests_are_refused(
    sent: bytes,
    answer: bytes,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_remote() as remote, open_client(inbound(remote.dispatch)) as client:
        await client.send(sent)
        received = await client.receive_rest()
        assert received.startswith(answer)
        assert bool(received) == bool(answer)
        # The inbound half-closes at once, though it lingers before it closes.
        assert trio.current_time() == 0
        assert remote.outbound.flows == []
    (message,) = caplog.messages
    assert message.startswith(f"http.refused source={SOURCE} reason=")


@pytest.mark.parametrize("sent", [b"", TUNNEL[:-1], request("")[:20]])
async def test_a_request_must_arrive_before_the_handshake_deadline(
    sent: bytes, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        open_remote() as remote,
        open_client(inbound(remote.dispatch), handshake=5.0) as client,
    ):
        await client.send(sent)
        assert await client.receive_rest() == b""
        assert trio.current_time() == pytest.approx(5.0)
    assert caplog.messages == [
        f"http.refused source={SOURCE} reason='no complete request before the handshake deadline'"
    ]


async def test_an_idle_keep_alive_connection_is_closed_without_a_log_line(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess.inbound.http")
    servers = WebServers(name_the_path)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(request(""))
        await receive_response(client)
        assert await client.receive_rest() == b""
    assert [record for record in caplog.records if "http" in record.name] == []


# Transparent ------------------------------------------------------------------------------------


async def test_transparent_requests_use_the_host_header(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = WebServers(name_the_path)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch, allow_transparent=True)) as client,
    ):
        await client.send(b"GET /a HTTP/1.1\r\nHost: example.com:8080\r\n\r\n")
        assert (await receive_response(client))[1] == b"GET /a"
        await client.send(request("b"))
        assert (await receive_response(client))[1] == b"GET /b"
        assert [flow.destination.port for flow in remote.outbound.flows] == [8080, 80]


@pytest.mark.parametrize("allow_transparent", [True, False])
async def test_transparent_flows_must_not_come_back(
    allow_transparent: bool, autojump_clock: trio.testing.MockClock
) -> None:
    servers = WebServers(name_the_path)
    async with (
        open_remote(servers.script) as remote,
        open_client(inbound(remote.dispatch, allow_transparent=allow_transparent)) as client,
    ):
        await client.send(request("a"))
        await receive_response(client)
        (flow,) = remote.outbound.flows
        assert flow.looping_port == (LOCAL.port if allow_transparent else 0)


# Cancellation -----------------------------------------------------------------------------------


def test_cancellation_at_any_checkpoint_closes_everything() -> None:
    def build() -> Scenario:
        sides: list[ScriptedRemote] = []
        clients: list[InboundClient] = []

        async def run() -> None:
            servers = WebServers(name_the_path, closes=False)
            async with open_remote(servers.script) as remote:
                sides.append(remote)
                async with open_client(inbound(remote.dispatch)) as client:
                    clients.append(client)
                    headers = b"Content-Length: 3\r\n"
                    await client.send(request("", method="POST", headers=headers))
                    await client.send(b"abc")
                    await receive_response(client)
                    remote.outbound.script = WebServers(name_the_path).script
                    await client.send(request(""))
                    await receive_response(client)

        def check() -> None:
            assert all(client.transport.closed for client in clients)
            assert all(remote.outbound.all_closed for remote in sides)
            assert not any(remote.dispatch.connections for remote in sides)

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 40
