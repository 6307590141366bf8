"""`trio-vmess doctor` against nodes of ours that cannot be used, each for one reason."""

import contextlib
import datetime
import email.utils
import functools
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.kit.carriers import BARE, SERVER_NAME, CarrierSpec, Network
from tests.kit.certificates import CertificateFiles, authority, write_certificate
from tests.kit.commands import run_command, run_python
from tests.kit.http_origin import start_http
from tests.kit.name_server import start_name_server
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.nodes import freedom, start_node, start_server_node, vmess_inbounds, vmess_outbound
from tests.kit.origin import start_silent
from tests.kit.parent_proxy import open_parent_proxy
from tests.kit.peer_specs import USER_ID, ClientSpec, ServerSpec
from tests.kit.ports import free_port
from tests.kit.resolver import TableResolver
from trio_vmess import config
from trio_vmess.cli.doctor import format_report
from trio_vmess.core import Network as CoreNetwork
from trio_vmess.core import parse_host
from trio_vmess.core.vmess import parse_user_id
from trio_vmess.diagnosis.doctor import Examination, Report, State, StepName, examine, read_target
from trio_vmess.node import utc_seconds

ROOT: Final = Path(__file__).parents[2]
LOOPBACK: Final = parse_host(IPV4_LOOPBACK)
OTHER_ID: Final = "00000000-0000-4000-8000-000000000001"
NAME: Final = "origin.test.invalid"
LIMIT: Final = 5.0
POLICY: Final = config.PolicySettings(levels={0: config.PolicyLevelSettings(handshake=1.0)})
"""Servers lose their patience soon, so that no test waits for long."""

WS: Final = CarrierSpec(network="ws")
WS_TLS: Final = CarrierSpec(network="ws", tls=True)
TLS: Final = CarrierSpec(tls=True)

pytestmark = pytest.mark.limit(60)


@contextlib.asynccontextmanager
async def surroundings(**changes: object) -> AsyncIterator[Examination]:
    """Run what is behind the server; give what to examine it with."""
    async with (
        start_http() as origin,
        start_name_server({(NAME, "A"): ["192.0.2.7"]}) as names,
    ):
        found = Examination(
            target=read_target(f"127.0.0.1:{origin.port}"),
            name_server=(parse_host("127.0.0.1"), names.port),
            limit=LIMIT,
        )
        yield attrs.evolve(found, **changes)


async def diagnose(
    client: ClientSpec,
    server: ServerSpec | None = None,
    *,
    stream: config.StreamSettings | None = None,
    server_stream: config.StreamSettings | None = None,
    policy: config.PolicySettings = POLICY,
    clock: Callable[[], int] = utc_seconds,
    **changes: object,
) -> Report:
    """Examine a server as a client would use it; the port of the client's spec is ignored."""
    async with (
        surroundings(**changes) as means,
        start_server_node(server, policy=policy, stream=server_stream) as node,
    ):
        client = attrs.evolve(client, server_port=node.port)
        outbound = vmess_outbound(client, stream=stream)
        return await examine(outbound, means, clock=clock)


def detail(report: Report, name: StepName) -> str:
    return next(each.detail for each in report.steps if each.name is name)


def show(report: Report) -> None:
    """Leave a report where pytest shows it if the test fails."""
    sys.stdout.write(json.dumps(report.to_json(), indent=1))


def assert_fails(report: Report, step: StepName, remedy: str) -> None:
    """Check which step fails, that nothing behind it was done, and what is to be fixed.

    The clock is compared as soon as a Date is seen, wherever that is.
    """
    show(report)
    order = list(StepName)
    found = [each for each in order if report.state_of(each) is State.FAILED]
    assert found[-1:] == [step]
    later = set(order[order.index(step) + 1 :]) - {StepName.CLOCK}
    after = set(map(report.state_of, later))
    assert after <= {State.SKIPPED, State.UNUSED}
    assert remedy in report.remedy
    assert not report.is_ok


# All is well --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "carrier",
    [
        BARE,
        TLS,
        WS,
        WS_TLS,
        CarrierSpec(network="ws", tls=True, early_data=2048),
        CarrierSpec(network="tcp-http"),
        CarrierSpec(network="httpupgrade"),
        CarrierSpec(network="h2", tls=True),
        CarrierSpec(network="grpc", tls=True),
    ],
    ids=str,
)
async def test_a_server_that_works_passes_every_step(carrier: CarrierSpec) -> None:
    report = await diagnose(
        ClientSpec(server_port=0, carrier=carrier, mux=True), ServerSpec(carrier=carrier)
    )
    show(report)
    assert report.is_ok
    assert not report.causes
    used = {StepName.CONFIG, StepName.TCP, StepName.AUTHENTICATION, StepName.REQUEST}
    used |= {StepName.UDP, StepName.MUX, StepName.LATENCY}
    used |= {StepName.TLS} if carrier.tls else set()
    used |= {StepName.TRANSPORT} if carrier.network != "tcp" else set()
    assert {each.name for each in report.steps if each.state is State.OK} >= used
    assert set(report.seconds) >= {"tcp", "first_byte"}
    assert all(each >= 0 for each in report.seconds.values())


async def test_legacy_headers_are_accepted_by_name() -> None:
    report = await diagnose(ClientSpec(server_port=0, alter_id=4), ServerSpec(alter_id=4))
    show(report)
    assert report.is_ok
    assert detail(report, StepName.AUTHENTICATION) == "accepted, with legacy headers (alterId 4)"


async def test_a_name_is_resolved_and_shown() -> None:
    TableResolver({"vpn.test.invalid": ["127.0.0.1"]}).use()
    report = await diagnose(ClientSpec(server_port=0, server_host="vpn.test.invalid"))
    show(report)
    assert report.is_ok
    assert detail(report, StepName.NAME) == "vpn.test.invalid is 127.0.0.1"


async def test_a_download_is_measured() -> None:
    async with start_http() as origin:
        target = read_target(f"http://127.0.0.1:{origin.port}/bytes/3000000")
        report = await diagnose(ClientSpec(server_port=0), download=target)
    show(report)
    assert report.state_of(StepName.THROUGHPUT) is State.OK
    assert "MB/s" in detail(report, StepName.THROUGHPUT)


async def test_the_first_of_several_servers_is_examined() -> None:
    async with surroundings() as means, start_server_node() as node:
        outbound = vmess_outbound(ClientSpec(server_port=node.port), other_ports=[free_port()])
        vmess = outbound.protocol
        assert isinstance(vmess, config.VMessOutboundSettings)
        # Connections that are opened ahead of time are none of those that are watched.
        vmess = attrs.evolve(vmess, spare_connections=2)
        report = await examine(attrs.evolve(outbound, protocol=vmess), means)
    show(report)
    assert report.is_ok
    assert "the first of 2 servers" in detail(report, StepName.CONFIG)


# On the way to the server -------------------------------------------------------------------------


async def test_a_name_that_does_not_exist() -> None:
    TableResolver({}).use()
    report = await diagnose(ClientSpec(server_port=0, server_host="vpn.test.invalid"))
    assert_fails(report, StepName.NAME, "check the server's address (vpn.test.invalid)")


async def test_a_port_that_nothing_listens_on() -> None:
    async with surroundings() as means:
        report = await examine(vmess_outbound(ClientSpec(server_port=free_port())), means)
    assert_fails(report, StepName.TCP, "start the server, or correct the port")


async def test_tls_for_a_server_without() -> None:
    report = await diagnose(ClientSpec(server_port=0, carrier=TLS))
    assert_fails(report, StepName.TLS, "turn TLS off in the link or outbound")


async def test_tls_for_a_web_socket_without() -> None:
    report = await diagnose(ClientSpec(server_port=0, carrier=WS_TLS), ServerSpec(carrier=WS))
    assert_fails(report, StepName.TLS, "turn TLS off in the link or outbound")
    assert "an HTTP server without TLS is there (it calls itself 'nginx')" in report.causes[0].what


@pytest.mark.parametrize("server", [TLS, WS_TLS], ids=str)
async def test_no_tls_for_a_server_with_tls(server: CarrierSpec) -> None:
    client = attrs.evolve(server, tls=False)
    report = await diagnose(ClientSpec(server_port=0, carrier=client), ServerSpec(carrier=server))
    step = StepName.AUTHENTICATION if server is TLS else StepName.TRANSPORT
    assert_fails(report, step, "TLS" if server is WS_TLS else "turn TLS on")


async def diagnose_certificate(
    folder: Path, *, server_name: str = SERVER_NAME, **dates: datetime.datetime
) -> Report:
    leaf = authority().issue_cert(SERVER_NAME, **dates)
    return await diagnose_tls(write_certificate(folder, leaf=leaf), server_name=server_name)


async def diagnose_tls(
    files: CertificateFiles, *, server_name: str = SERVER_NAME, roots: bool = True
) -> Report:
    own = config.CertificateSettings(
        certificate_file=str(files.certificate), key_file=str(files.key)
    )
    root = config.CertificateSettings(certificate_file=str(files.root))
    client = config.TlsSettings(
        server_name=server_name, roots=(root,) if roots else (), disable_system_root=True
    )
    return await diagnose(
        ClientSpec(server_port=0),
        stream=config.StreamSettings(tls=client),
        server_stream=config.StreamSettings(tls=config.TlsSettings(certificates=(own,))),
    )


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    report = await diagnose_certificate(tmp_path, server_name="other.test.invalid")
    assert_fails(report, StepName.TLS, "correct the server name (sni)")
    assert SERVER_NAME in detail(report, StepName.TLS)


async def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    end = datetime.datetime(2020, 1, 1)
    report = await diagnose_certificate(tmp_path, not_after=end)
    assert_fails(report, StepName.TLS, "renew the server's certificate")


async def test_a_certificate_that_ends_soon_is_a_warning(tmp_path: Path) -> None:
    end = datetime.datetime.now() + datetime.timedelta(days=3)
    report = await diagnose_certificate(tmp_path, not_after=end)
    show(report)
    assert report.state_of(StepName.TLS) is State.WARNING
    assert report.is_ok


async def test_a_certificate_that_vouches_for_itself(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, SERVER_NAME)
    self_signed(files)
    report = await diagnose_tls(files, roots=False)
    assert_fails(report, StepName.TLS, "it is self-signed")


async def test_a_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    report = await diagnose_tls(write_certificate(tmp_path, SERVER_NAME), roots=False)
    assert_fails(report, StepName.TLS, "make its authority a root")


def self_signed(files: CertificateFiles) -> None:
    """Replace a certificate by one that its own key has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SERVER_NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("early_data", [0, 2048])
async def test_a_web_socket_with_another_path(tls: bool, early_data: int) -> None:
    carrier = CarrierSpec(network="ws", tls=tls, early_data=early_data)
    client = attrs.evolve(carrier, path="/other")
    report = await diagnose(ClientSpec(server_port=0, carrier=client), ServerSpec(carrier=carrier))
    assert_fails(report, StepName.TRANSPORT, "correct the path (and the Host")
    assert report.state_of(StepName.CLOCK) is State.OK


@pytest.mark.parametrize("network", ["ws", "httpupgrade", "h2", "grpc"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_transport_that_the_server_does_not_have(network: Network, tls: bool) -> None:
    client, server = CarrierSpec(network=network, tls=tls), CarrierSpec(tls=tls)
    report = await diagnose(ClientSpec(server_port=0, carrier=client), ServerSpec(carrier=server))
    assert_fails(report, StepName.TRANSPORT, "make both ends agree on the transport")


@pytest.mark.parametrize("network", ["h2", "grpc", "tcp-http"])
async def test_another_path_in_the_other_transports(network: Network) -> None:
    server = CarrierSpec(network=network, tls=True)
    client = attrs.evolve(server, path="/other", service_name="Other")
    report = await diagnose(ClientSpec(server_port=0, carrier=client), ServerSpec(carrier=server))
    assert_fails(report, StepName.TRANSPORT, "correct the path (and the Host")


@pytest.mark.parametrize("tls", [False, True])
async def test_no_transport_for_a_server_with_a_web_socket(tls: bool) -> None:
    client, server = CarrierSpec(tls=tls), CarrierSpec(network="ws", tls=tls)
    report = await diagnose(ClientSpec(server_port=0, carrier=client), ServerSpec(carrier=server))
    assert_fails(report, StepName.AUTHENTICATION, "correct the transport (such as WebSocket")


# At the server ------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", [BARE, TLS], ids=str)
@pytest.mark.parametrize("alter_id", [0, 4])
async def test_a_wrong_id_looks_like_a_wrong_clock(carrier: CarrierSpec, alter_id: int) -> None:
    client = ClientSpec(server_port=0, user_id=OTHER_ID, carrier=carrier, alter_id=alter_id)
    report = await diagnose(client, ServerSpec(carrier=carrier, alter_id=alter_id))
    assert_fails(report, StepName.AUTHENTICATION, "run 'date -u' on both machines")
    assert "compare the user id" in report.remedy
    assert report.state_of(StepName.CLOCK) is State.SKIPPED


async def test_a_wrong_id_is_told_from_the_clock_by_a_date() -> None:
    client = ClientSpec(server_port=0, user_id=OTHER_ID, carrier=WS_TLS)
    report = await diagnose(client, ServerSpec(carrier=WS_TLS))
    assert_fails(report, StepName.AUTHENTICATION, "compare the user id with the server's")
    assert report.state_of(StepName.CLOCK) is State.OK


@pytest.mark.parametrize(("seconds", "words"), [(180, "ahead of"), (-180, "behind")])
async def test_a_wrong_clock_is_told_from_the_id_by_a_date(seconds: int, words: str) -> None:
    report = await diagnose(
        ClientSpec(server_port=0, carrier=WS_TLS),
        ServerSpec(carrier=WS_TLS),
        clock=lambda: utc_seconds() + seconds,
    )
    assert_fails(report, StepName.AUTHENTICATION, "set this machine's clock")
    assert report.state_of(StepName.CLOCK) is State.FAILED
    assert words in report.remedy


async def test_a_wrong_clock_without_a_date_is_one_of_two_causes() -> None:
    report = await diagnose(ClientSpec(server_port=0), clock=lambda: utc_seconds() + 180)
    assert_fails(report, StepName.AUTHENTICATION, "run 'date -u' on both machines")


async def test_a_clock_that_is_a_minute_off_is_a_warning() -> None:
    async with open_parent_proxy(answer_with_date) as port:
        target = read_target(f"127.0.0.1:{port}")
        report = await diagnose(
            ClientSpec(server_port=0), clock=lambda: utc_seconds() + 90, target=target
        )
    show(report)
    assert report.state_of(StepName.CLOCK) is State.WARNING
    assert report.is_ok


async def answer_with_date(stream: trio.SocketStream) -> None:
    await stream.receive_some(4096)
    date = email.utils.formatdate(usegmt=True)
    await stream.send_all(f"HTTP/1.1 204 No Content\r\nDate: {date}\r\n\r\n".encode())


@pytest.mark.parametrize("carrier", [BARE, TLS], ids=str)
async def test_a_wrong_alter_id_is_found_out(carrier: CarrierSpec) -> None:
    client = ClientSpec(server_port=0, alter_id=4, carrier=carrier)
    report = await diagnose(client, ServerSpec(carrier=carrier))
    assert_fails(report, StepName.AUTHENTICATION, "set alterId to 0")
    assert len(report.causes) == 1


async def test_a_web_server_where_vmess_is_expected() -> None:
    async with surroundings(limit=2.0) as means, start_http() as origin:
        report = await examine(vmess_outbound(ClientSpec(server_port=origin.port)), means)
    assert_fails(report, StepName.AUTHENTICATION, "correct the transport (such as WebSocket")


async def test_a_port_that_says_nothing_at_all() -> None:
    async with surroundings(limit=1.0) as means, start_silent() as origin:
        report = await examine(vmess_outbound(ClientSpec(server_port=origin.port)), means)
    assert_fails(report, StepName.AUTHENTICATION, "run 'date -u' on both machines")
    assert detail(report, StepName.AUTHENTICATION).startswith("no answer in 1 s")


# Behind the server --------------------------------------------------------------------------------


async def diagnose_routing(*rules: config.RuleSettings, allow_private: bool = True) -> Report:
    """Examine a server that sends what its rules say to a black hole."""
    blackhole = config.OutboundSettings(tag="blocked", protocol=config.BlackholeOutboundSettings())
    settings = config.Config(
        inbounds=vmess_inbounds(ServerSpec()),
        outbounds=(freedom(allow_private=allow_private), blackhole),
        routing=config.RoutingSettings(rules=rules),
        policy=POLICY,
    )
    async with surroundings() as means, start_node(settings) as node:
        return await examine(vmess_outbound(ClientSpec(server_port=node.port)), means)


async def test_a_server_that_refuses_the_destination() -> None:
    report = await diagnose_routing(allow_private=False)
    show(report)
    assert report.state_of(StepName.AUTHENTICATION) is State.OK
    assert report.state_of(StepName.REQUEST) is State.FAILED
    assert report.state_of(StepName.LATENCY) is State.SKIPPED
    assert "look at the server's log and its routing" in report.remedy
    assert not report.is_ok


async def test_a_server_that_does_not_let_udp_through() -> None:
    rule = config.RuleSettings(networks=frozenset({CoreNetwork.UDP}), outbound_tag="blocked")
    report = await diagnose_routing(rule)
    show(report)
    assert report.state_of(StepName.REQUEST) is State.OK
    assert report.state_of(StepName.UDP) is State.FAILED
    assert "allow UDP on the server" in report.remedy


async def test_a_target_that_says_nothing() -> None:
    async with start_silent() as origin:
        report = await diagnose(
            ClientSpec(server_port=0), target=read_target(f"127.0.0.1:{origin.port}"), limit=2.0
        )
    show(report)
    assert report.state_of(StepName.AUTHENTICATION) is State.OK
    assert report.state_of(StepName.REQUEST) is State.FAILED
    assert "nothing comes back" in report.causes[0].what


# Mistakes -----------------------------------------------------------------------------------------


async def test_a_root_that_cannot_be_read_fails_the_first_step() -> None:
    root = config.CertificateSettings(certificate_file="missing.pem")
    stream = config.StreamSettings(tls=config.TlsSettings(roots=(root,)))
    report = await diagnose(ClientSpec(server_port=0), stream=stream)
    assert_fails(report, StepName.CONFIG, "missing.pem")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vmess://!!!",), "share link"),
        (("--config", "FILE"), "there is no outbound with protocol vmess"),
        (("--config", "FILE", "--outbound", "x"), "protocol vmess and tag 'x'"),
        (("--config", "missing.toml"), "cannot read the file"),
    ],
)
def test_what_cannot_be_read_fails_the_first_step(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[[outbounds]]\nprotocol = "freedom"\n')
    shown = (str(file) if each == "FILE" else each for each in arguments)
    code, out, err = run_command("doctor", *shown)
    assert (code, err) == (1, "")
    first, *others = out.partition("\n\n")[0].splitlines()
    assert words in first
    assert all(each.startswith("- ") for each in others)


async def test_an_outbound_behind_another_is_refused_with_an_explanation() -> None:
    async with surroundings() as means:
        outbound = attrs.evolve(vmess_outbound(ClientSpec(server_port=1)), through="proxy")
        report = await examine(outbound, means)
    assert_fails(report, StepName.CONFIG, "examine 'proxy' first")


async def test_only_vmess_outbounds_can_be_examined() -> None:
    async with surroundings() as means:
        with pytest.raises(ValueError, match="protocol 'vmess'"):
            await examine(freedom(), means)


# The command --------------------------------------------------------------------------------------


async def run_doctor(*arguments: str) -> tuple[int, str, str]:
    """Run the command beside the nodes of the test."""
    run = functools.partial(run_command, "doctor", *arguments)
    return await trio.to_thread.run_sync(run)


def link_to(port: int, user_id: str) -> str:
    return config.server_share_link(
        host=LOOPBACK,
        port=port,
        user_id=parse_user_id(user_id),
        alter_id=0,
        security=config.SecurityName.AUTO,
        name="test",
        stream=config.PLAIN_STREAM,
    )


def arguments_of(means: Examination) -> tuple[str, ...]:
    """Return the arguments that keep a command on this machine."""
    host, port = means.name_server
    return ("--target", str(means.target), "--dns", f"{host}:{port}", "--timeout", str(means.limit))


async def test_the_command_passes_a_server_that_works() -> None:
    async with surroundings() as means, start_server_node() as node:
        port = node.port
        link = link_to(port, USER_ID)
        code, out, err = await run_doctor(link, *arguments_of(means))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == len(StepName) + 2
    assert lines[0].split(maxsplit=2)[2] == f"127.0.0.1:{port}, plain TCP, AEAD headers"
    assert lines[-1] == "Nothing to fix."
    assert USER_ID not in out


async def test_the_command_says_in_json_what_is_wrong() -> None:
    async with surroundings() as means, start_server_node(policy=POLICY) as node:
        port = node.port
        link = link_to(port, OTHER_ID)
        code, out, err = await run_doctor(link, *arguments_of(means), "--json")
    assert (code, err) == (1, "")
    report = json.loads(out)
    assert set(report) == {"ok", "server", "steps", "causes", "fix", "seconds"}
    assert report["ok"] is False
    assert report["server"] == f"127.0.0.1:{port}"
    assert [each["step"] for each in report["steps"]] == [each.value for each in StepName]
    assert all(set(each) == {"step", "state", "detail"} for each in report["steps"])
    assert {each["step"] for each in report["steps"] if each["state"] == "failed"} == {
        "authentication"
    }
    assert report["fix"] == report["causes"][0]["remedy"]
    assert all(set(each) == {"cause", "remedy"} for each in report["causes"])


async def test_the_command_examines_an_outbound_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    async with surroundings() as means, start_server_node() as node:
        file.write_text(
            f"""
            [[outbounds]]
            tag = "direct"
            protocol = "freedom"

            [[outbounds]]
            tag = "gone"
            protocol = "vmess"
            servers = [
              {{address = "127.0.0.1", port = {free_port()}, users = [{{id = "{USER_ID}"}}]}}
            ]

            [[outbounds]]
            tag = "proxy"
            protocol = "vmess"
            mux = {{enabled = true}}
            servers = [
              {{address = "127.0.0.1", port = {node.port}, users = [{{id = "{USER_ID}"}}]}}
            ]
            """
        )
        common = ("--config", str(file), *arguments_of(means), "--json")
        code, out, err = await run_doctor(*common, "--outbound", "proxy")
        assert (code, err) == (0, "")
        assert json.loads(out)["steps"][9]["state"] == "ok"
        code, out, err = await run_doctor(*common)
        assert (code, err) == (1, "")
        assert "nothing listens" in json.loads(out)["fix"]


def test_no_other_command_loads_the_doctor() -> None:
    code = "import sys, trio_vmess.cli; sys.exit('trio_vmess.diagnosis' in sys.modules)"
    done = run_python("-c", code, limit=30)
    assert (done.returncode, done.stderr) == (0, "")


# The manual ---------------------------------------------------------------------------------------


async def test_the_example_of_the_manual(tmp_path: Path) -> None:
    """A link with a wrong id, for a WebSocket over TLS: the manual shows just this, but numbers."""
    TableResolver({"vpn.example": ["127.0.0.1"]}).use()
    issuer = trustme.CA(organization_name="Example Trust", organization_unit_name="CA 1")
    end = datetime.datetime.now() + datetime.timedelta(days=60)
    leaf = issuer.issue_cert("vpn.example", not_after=end)
    files = write_certificate(tmp_path, leaf=leaf)
    own = config.CertificateSettings(
        certificate_file=str(files.certificate), key_file=str(files.key)
    )
    root = config.CertificateSettings(certificate=issuer.cert_pem.bytes().decode())
    web_socket = config.WebSocketSettings(path="/chat")
    report = await diagnose(
        ClientSpec(server_port=0, server_host="vpn.example", user_id=OTHER_ID),
        stream=config.StreamSettings(
            carrier=web_socket, tls=config.TlsSettings(roots=(root,), disable_system_root=True)
        ),
        server_stream=config.StreamSettings(
            carrier=web_socket, tls=config.TlsSettings(certificates=(own,))
        ),
        policy=config.PolicySettings(),
        limit=3.0,
    )
    printed = "\n".join(format_report(report, is_unicode=True, has_colour=False))
    manual = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    blocks = re.findall(r"(?ms)^```text\n(.*?)\n```$", manual)
    assert without_numbers(printed) in map(without_numbers, blocks)


def without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)*", "0", text)
