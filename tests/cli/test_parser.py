"""What each command's arguments are read into, and what is said about wrong ones."""

import ipaddress

import pytest

from trio_vmess.bench import PEERS
from trio_vmess.cli.arguments import (
    BenchArguments,
    CheckArguments,
    ClientArguments,
    DemoArguments,
    DoctorArguments,
    ExplainArguments,
    RunArguments,
    ServerArguments,
    StatsArguments,
)
from trio_vmess.cli.parser import parse_arguments
from trio_vmess.cli.values import PEER_NAMES
from trio_vmess.config import LogLevel, SecurityName
from trio_vmess.core import Network, parse_host

USER_ID = "b831381d-6324-4d53-ad4f-8cda48b30811"
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def test_server_arguments_are_typed() -> None:
    assert parse_arguments(
        [
            *("server", "--listen", "::1", "--port", "10086", "--id", USER_ID, "--alter-id", "4"),
            *("--security", "aes-128-gcm", "--allow-private", "--log-level", "info"),
            *("--ws", "/tunnel", "--tls", "server.pem", "server.key", "--name", "a.example"),
        ]
    ) == ServerArguments(
        config=None,
        listen=ipaddress.IPv6Address("::1"),
        port=10086,
        user_id=bytes.fromhex(USER_ID.replace("-", "")),
        alter_id=4,
        security=SecurityName.AES_128_GCM,
        allow_private=True,
        ws="/tunnel",
        tls=["server.pem", "server.key"],
        name="a.example",
        log_level=LogLevel.INFO,
    )


def test_client_arguments_are_typed() -> None:
    assert parse_arguments(
        ["client", "vmess://abc", "--socks", "localhost:1080", "--http", "[::1]:8080"]
    ) == ClientArguments(
        link="vmess://abc",
        config=None,
        socks=(LOOPBACK, 1080),
        http=(ipaddress.IPv6Address("::1"), 8080),
        user_id=None,
        alter_id=None,
        security=None,
        log_level=None,
    )


def test_ids_and_links_are_kept_out_of_repr() -> None:
    shown = repr(parse_arguments(["client", "vmess://abc", "--id", USER_ID]))
    assert "abc" not in shown
    assert "user_id" not in shown


def test_commands_about_a_file_keep_its_path() -> None:
    run = parse_arguments(["run", "--config", "node.toml"])
    assert run == RunArguments(config="node.toml", log_level=None)
    assert parse_arguments(["check", "--config", "a.json"]) == CheckArguments(config="a.json")


def test_demo_arguments_are_typed() -> None:
    demo = parse_arguments(["demo", "--log-level", "none"])
    assert demo == DemoArguments(log_level=LogLevel.NONE)


def test_bench_measures_the_ciphers_named_or_all() -> None:
    one = parse_arguments(["bench", "--cipher", "none", "--seconds", "0.5"])
    assert one == BenchArguments(against=None, ciphers=("none",), seconds=0.5, json=False)
    every = parse_arguments(["bench", "--cipher", "all"])
    assert isinstance(every, BenchArguments)
    assert every.ciphers == ("aes-128-gcm", "chacha20-poly1305", "none", "zero", "aes-128-cfb")


@pytest.mark.parametrize(
    ("words", "peers"),
    [
        ([], None),
        (["--against", "auto"], None),
        (["--against", "none"], ()),
        (["--against", "Xray, v2ray,xray"], ("xray", "v2ray")),
    ],
)
def test_bench_compares_with_the_peers_named_or_those_installed(
    words: list[str], peers: tuple[str, ...] | None
) -> None:
    arguments = parse_arguments(["bench", *words, "--json"])
    assert arguments == BenchArguments(against=peers, ciphers=(), seconds=1.0, json=True)


def test_every_peer_of_the_bench_can_be_named() -> None:
    assert [name.lower() for name in PEERS] == list(PEER_NAMES)


def test_stats_arguments_are_typed() -> None:
    assert parse_arguments(["stats", "--json", "--watch", "2"]) == StatsArguments(
        socket=None, json=True, reset=False, connections=False, watch=2.0
    )


def test_explain_arguments_are_typed() -> None:
    assert parse_arguments(
        ["explain", "a.example:53", "--config", "x", "--network", "udp", "--from", "in"]
    ) == ExplainArguments(
        destination=(parse_host("a.example"), 53),
        config="x",
        network=Network.UDP,
        inbound="in",
        user="",
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "server --port 70000",
            (
                "argument --port: '70000' is not a valid port: expected 0 to 65535 (0 picks a free "
                "one)"
            ),
        ),
        (
            "server --alter-id -1",
            "argument --alter-id: '-1' is not a valid alterId: expected 0 to 65535",
        ),
        (
            "server --alter-id 65536",
            "argument --alter-id: '65536' is not a valid alterId: expected 0 to 65535",
        ),
        (
            "server --ws tunnel",
            (
                "argument --ws: 'tunnel' is not a valid path: expected one as in a URL, such as "
                "/tunnel"
            ),
        ),
        (
            "server --ws /a?ed=2048",
            (
                "argument --ws: '/a?ed=2048' is not a valid path: expected one as in a URL, such "
                "as /tunnel"
            ),
        ),
        (
            "server --name a..b",
            "argument --name: 'a..b' is neither an IP address nor a domain name",
        ),
        ("server --tls server.pem", "argument --tls: expected 2 arguments"),
        (
            "server --config x --ws /tunnel",
            "--ws cannot be combined with --config; set it in the file",
        ),
        ("server --listen a.example", "argument --listen: 'a.example' is not a valid IP address"),
        (
            "server --security rot13",
            (
                "argument --security: 'rot13' is not known: expected one of auto, aes-128-gcm, "
                "chacha20-poly1305, none, zero, aes-128-cfb"
            ),
        ),
        (
            "server --config x --port 1",
            "--port cannot be combined with --config; set it in the file",
        ),
        (
            "server --config x --allow-private",
            "--allow-private cannot be combined with --config; set it in the file",
        ),
        (
            "client vmess://x --config x",
            "a vmess:// link cannot be combined with --config; set it in the file",
        ),
        (
            "client",
            (
                "a vmess:// link, @FILE, '-', TRIO_VMESS_LINK in the environment, or --config "
                "FILE is needed"
            ),
        ),
        (
            "client vmess://x --socks a.example:1",
            "argument --socks: 'a.example' is not a valid IP address",
        ),
        (
            "demo --log-level loud",
            (
                "argument --log-level: 'loud' is not known: expected one of debug, info, warning, "
                "error, none"
            ),
        ),
        (
            "bench --seconds 0",
            "argument --seconds: '0' is not a valid duration: expected 0.05 to 60 seconds",
        ),
        (
            "bench --against mihomo",
            (
                "argument --against: 'mihomo' is not known: expected auto, none, or some of "
                "v2ray, sing-box, xray, separated by commas"
            ),
        ),
        (
            "bench --against v2ray --cipher none",
            "--against cannot be combined with --cipher, which measures trio-vmess alone",
        ),
        (
            "bench --cipher none --json",
            "--json cannot be combined with --cipher, which measures trio-vmess alone",
        ),
        (
            "stats --watch x",
            "argument --watch: 'x' is not a valid duration: expected 0.1 to 86400 seconds",
        ),
        ("stats --connections --reset", "--connections cannot be combined with --reset"),
        ("run", "the configuration file is missing"),
    ],
)
def test_a_wrong_argument_is_exit_2_with_a_message(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(line.split())
    assert ended.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    command = line.split()[0]
    assert last == f"trio-vmess {command}: error: {message}"


def test_an_unknown_command_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["serve"])
    assert ended.value.code == 2
    assert (
        "'serve' is neither a command nor a file; did you mean 'server'?" in capsys.readouterr().err
    )


def test_doctor_arguments_are_typed() -> None:
    assert parse_arguments(
        [
            *("doctor", "--config", "x.toml", "--outbound", "proxy", "--target", "a.example:80"),
            *("--dns", "[::1]:5353", "--timeout", "2", "--throughput", "http://a.example/x"),
            "--json",
        ]
    ) == DoctorArguments(
        link=None,
        config="x.toml",
        outbound="proxy",
        target="a.example:80",
        dns=(ipaddress.IPv6Address("::1"), 5353),
        timeout=2.0,
        throughput="http://a.example/x",
        json=True,
    )


def test_the_doctor_needs_a_link_alone() -> None:
    arguments = parse_arguments(["doctor", "vmess://abc"])
    assert isinstance(arguments, DoctorArguments)
    assert arguments.dns == (ipaddress.IPv4Address("1.1.1.1"), 53)
    assert arguments.target.startswith("http://")
    assert arguments.throughput is None
    assert "vmess://abc" not in repr(arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a vmess:// link"),
        (("vmess://x", "--config", "x.toml"), "cannot be combined with --config"),
        (("vmess://x", "--outbound", "proxy"), "--outbound is for --config"),
        (("vmess://x", "--dns", "dns.example"), "expected an IP address"),
        (("vmess://x", "--dns", "127.0.0.1:0"), "expected an IP address"),
        (("vmess://x", "--target", "https://a.example/"), "expected http://HOST"),
        (("vmess://x", "--timeout", "0"), "0.5 to 60 seconds"),
    ],
)
def test_mistakes_with_the_doctor(
    arguments: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRIO_VMESS_LINK", raising=False)
    with pytest.raises(SystemExit):
        parse_arguments(["doctor", *arguments])
    assert words in capsys.readouterr().err
