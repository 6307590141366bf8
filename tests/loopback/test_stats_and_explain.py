"""The commands `stats`, `explain` and `check`, as processes beside a running node."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit.commands import run_command, running_command
from tests.kit.ports import free_port
from trio_vmess.operations import control

pytestmark = pytest.mark.skipif(
    not control.has_unix_sockets(), reason="there are no Unix sockets here"
)

NODE = """
{
  "inbounds": [{"tag": "in", "protocol": "socks", "listen": "127.0.0.1", "port": "0"}],
  "outbounds": [
    {"tag": "direct", "protocol": "freedom"},
    {"tag": "blocked", "protocol": "blackhole"}
  ],
  "routing": {"rules": [
    {"type": "field", "domain": ["domain:ads.example"], "outboundTag": "blocked"}
  ]},
  "stats": {}
}
"""


@pytest.fixture
def node_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    file = tmp_path / "node.json"
    file.write_text(NODE.replace('"0"', str(free_port())))
    return file


def control_path(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.match(r"control: (\S+)", line):
            return match[1]
    raise AssertionError(f"no control socket: {process.communicate()}")


def test_a_node_prints_its_control_socket_and_stats_finds_it(node_file: Path) -> None:
    with running_command("run", "--config", str(node_file)) as node:
        path = control_path(node)
        assert path == str(node_file.parent / "trio-vmess" / f"{node.pid}.sock")
        code, out, err = run_command("stats")
        assert (code, err) == (0, "")
        assert "no counters: 'policy' selects what is counted" in out
        answer = json.loads(run_command("stats", "--json", "--socket", path)[1])
        assert answer["connections"] == 0
        node.send_signal(signal.SIGTERM)
        assert node.wait(timeout=20) == 0
    assert not os.path.exists(path)
    code, _, err = run_command("stats")
    assert code == 1
    assert "no running node was found" in err
    assert run_command("stats", "--socket", path)[0] == 1


def test_stats_watch_until_ctrl_c(node_file: Path) -> None:
    with running_command("run", "--config", str(node_file)) as node:
        path = control_path(node)
        with running_command("stats", "--socket", path, "--json", "--watch", "0.1") as watcher:
            assert watcher.stdout is not None
            lines = [json.loads(watcher.stdout.readline()) for _ in range(3)]
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(timeout=20) == 0
    assert lines[0]["seconds"] < lines[1]["seconds"] < lines[2]["seconds"]


def test_stats_of_a_node_without_statistics(node_file: Path) -> None:
    node_file.write_text(node_file.read_text().replace('"stats": {}', '"policy": {}'))
    assert run_command("check", "--config", str(node_file))[0] == 0
    toml = node_file.with_suffix(".toml")
    toml.write_text(
        f'control = "{node_file.parent}/own.sock"\n[[outbounds]]\nprotocol = "freedom"\n'
    )
    with running_command("run", "--config", str(toml)) as node:
        assert control_path(node) == f"{node_file.parent}/own.sock"
        code, _, err = run_command("stats", "--socket", f"{node_file.parent}/own.sock")
        assert code == 1
        assert "stats = true" in err
        code, out, _ = run_command(
            "stats", "--connections", "--socket", f"{node_file.parent}/own.sock"
        )
        assert code == 0
        assert out.startswith("source")


def test_explain(node_file: Path) -> None:
    code, out, _ = run_command("explain", "--config", str(node_file), "www.ads.example:443")
    assert code == 0
    assert out.startswith("tcp:www.ads.example:443 from in\n")
    assert "routing.rules[0] (line 9) -> blocked: yes" in out
    code, out, _ = run_command(
        *("explain", "--config", str(node_file), "--network", "udp", "--from", "in"),
        *("--user", "ann@example.com", "[2001:db8::1]:53"),
    )
    assert code == 0
    assert out.startswith("udp:[2001:db8::1]:53 from in for ann@example.com\n")
    assert "outbound: direct (freedom)\n  address: 2001:db8::1" in out


def test_explain_with_wrong_arguments_or_files(node_file: Path) -> None:
    command = ("explain", "--config", str(node_file))
    code, _, err = run_command(*command, "a.example:1", "--from", "other")
    assert code == 1
    assert "no inbound has the tag" in err
    for mistake in (("a.example",), ("a.example:x",), ("a.example:1", "--network", "sctp")):
        code, _, err = run_command(*command, *mistake)
        assert code == 2
        assert "usage" in err
    node_file.write_text(node_file.read_text().replace("domain:ads.example", "ext:none.dat:x"))
    code, _, err = run_command(*command, "a.example:1")
    assert code == 23
    assert "none.dat" in err


def test_check_reports_name_servers_that_cannot_be_used(node_file: Path) -> None:
    text = node_file.read_text().replace(
        '"stats"', '"dns": {"servers": ["quic+local://192.0.2.1"]}, "stats"'
    )
    node_file.write_text(text)
    for command in ("check", "run"):
        code, out, err = run_command(command, "--config", str(node_file))
        assert code == 23
        assert "dns.servers[0].address" in err
        assert "OK" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats", "--watch", "0"),
        ("stats", "--watch", "x"),
        ("stats", "--connections", "--reset"),
        ("explain", "a.example:1"),
    ],
)
def test_usage_mistakes(arguments: tuple[str, ...]) -> None:
    code, _, err = run_command(*arguments)
    assert code == 2
    assert "usage" in err
