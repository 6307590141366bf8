"""The commands as a person runs them: real processes, real signals, real files."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kit.commands import run_command, run_python, running_command
from tests.kit.ports import free_port
from trio_vmess import __version__

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")


def line_with(process: "subprocess.Popen[str]", pattern: str) -> re.Match[str]:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line matched {pattern!r}: {process.communicate()}")


def fetch(command: str) -> str:
    words = [*command.split(), "--silent", "--show-error", "--max-time", "20"]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


@POSIX
def test_demo_prints_commands_that_work() -> None:
    with running_command("demo") as demo:
        socks = line_with(demo, r"try: +(curl -x socks5h\S+ \S+)")[1]
        http = line_with(demo, r"try: +(curl -x http\S+ \S+)")[1]
        assert fetch(socks) == fetch(http) == "Hello through VMess.\n"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=20) == 0


@POSIX
def test_server_and_client_from_flags_and_link() -> None:
    with running_command("demo") as demo:
        page = line_with(demo, r"try: +curl -x socks5h\S+ (\S+)")[1]
        with running_command(
            "server", "--listen", "127.0.0.1", "--allow-private", "--alter-id", "2"
        ) as server:
            command = line_with(server, r"client: trio-vmess client '(vmess://\S+)'")
            with running_command(
                "client", command[1], "--socks", "127.0.0.1:0", "--http", "127.0.0.1:0"
            ) as client:
                socks = line_with(client, r"listening: socks on (\S+)")[1]
                http = line_with(client, r"listening: http on (\S+)")[1]
                assert fetch(f"curl -x socks5h://{socks} {page}") == "Hello through VMess.\n"
                assert fetch(f"curl -x http://{http} {page}") == "Hello through VMess.\n"
                client.send_signal(signal.SIGTERM)
                assert client.wait(timeout=20) == 0
            line_with(server, r"closed .* outbound=direct up=\d+ down=\d+ .* reason=finished")
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=20) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("form", ["link", "--id ID", "--id=ID"])
def test_secrets_are_hidden_from_the_list_of_processes(form: str) -> None:
    user_id = "b831381d-6324-4d53-ad4f-8cda48b30811"
    if form == "link":
        arguments = ("client", f"vmess://{user_id}@127.0.0.1:9", "--socks", "127.0.0.1:0")
    else:
        words = form.replace("ID", user_id).split()
        arguments = ("server", "--listen", "127.0.0.1", *words)
    hidden = user_id if form != "link" else f"{user_id}@127.0.0.1:9"
    with running_command(*arguments) as process:
        line_with(process, "listening: ")
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert user_id.encode() not in shown
    # All else is as it was, so that `ps` and `pgrep` still find it.
    stars = "*" * len(hidden)
    expected = "\0".join(("trio_vmess", *arguments, "")).replace(hidden, stars)
    assert shown.endswith(expected.encode())


@POSIX
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    import socket

    port = free_port()
    target = socket.create_server(("127.0.0.1", 0))
    config = tmp_path / "node.toml"
    config.write_text(
        f'[[inbounds]]\nprotocol = "dokodemo-door"\nlisten = "127.0.0.1"\nport = {port}\n'
        f'target_address = "127.0.0.1"\ntarget_port = {target.getsockname()[1]}\n'
        '[[outbounds]]\nprotocol = "freedom"\n'
    )
    with target, running_command("run", "--config", str(config)) as node:
        line_with(node, "listening: dokodemo-door")
        with socket.create_connection(("127.0.0.1", port)):
            held, _ = target.accept()
            with held:
                node.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                assert node.poll() is None, "a connection was not given its grace"
                node.send_signal(signal.SIGTERM)
                assert node.wait(timeout=2) == 0


def test_check_accepts_the_example_and_runs_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "config.toml"
    copy.write_bytes(Path("config.toml.example").read_bytes())
    copy.chmod(0o600)
    code, out, err = run_command("check", "--config", str(copy))
    assert (code, out, err) == (0, "Configuration OK.\n", "")


@POSIX
def test_check_and_start_warn_of_what_strangers_may_use(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        '[[inbounds]]\nprotocol = "http"\nlisten = "0.0.0.0"\nport = 0\n'
        '[[inbounds]]\nprotocol = "vmess"\nlisten = "127.0.0.1"\nport = 0\n'
        'users = [{ id = "b831381d-6324-4d53-ad4f-8cda48b30811", alter_id = 1 }]\n'
        '[[outbounds]]\nprotocol = "freedom"\n'
    )
    file.chmod(0o644)
    code, out, err = run_command("check", "--config", str(file))
    assert (code, out) == (0, "Configuration OK.\n")
    lines = err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["warning"] * 3
    assert "every user of this machine can read it" in lines[0]
    assert f"{file}:3:1: inbounds[0].listen: everyone who can reach 0.0.0.0" in lines[1]
    assert "inbounds[1].users[0].alter_id: 1 user has an alterId above 0" in lines[2]
    with running_command("run", "--config", str(file)) as node:
        line_with(node, "listening: vmess")
        node.send_signal(signal.SIGTERM)
        assert node.communicate(timeout=20)[1].splitlines()[:3] == lines


@POSIX
def test_flags_and_links_are_warned_about_too(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.write_text("vmess://b831381d-6324-4d53-ad4f-8cda48b30811@192.0.2.1:443\n")
    with running_command(
        "client", f"@{link}", "--socks", "0.0.0.0:0", "--security", "none"
    ) as client:
        line_with(client, "listening: socks")
        client.send_signal(signal.SIGTERM)
        err = client.communicate(timeout=20)[1]
    assert "everyone who can reach 0.0.0.0 can use this proxy" in err
    assert "the security 'none' leaves the traffic to 192.0.2.1 unencrypted" in err


@POSIX
@pytest.mark.parametrize("words", [("FILE",), ("-config", "FILE"), ("run", "FILE")])
def test_a_file_is_run_in_the_words_of_v2ray_too(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(
        '{"inbounds": [{"port": 0, "listen": "127.0.0.1", "protocol": "socks"}],'
        ' "outbounds": [{"protocol": "freedom"}]}'
    )
    with running_command(*(word.replace("FILE", str(file)) for word in words)) as node:
        line_with(node, "listening: socks")
        node.send_signal(signal.SIGTERM)
        assert node.wait(timeout=20) == 0


def test_every_mistake_in_one_run_and_exit_23(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(
        '{\n  "inbounds": [{"port": 1080, "protocol": "sock"}], // typo\n'
        '  "outbounds": [{"protocol": "vmess", "settings": {"vnext": [{"address": "x.example",\n'
        '    "port": 1, "users": [{"id": "b831381d-6324-4d53-ad4f-8cda48b3081",\n'
        '    "alterId": 70000}]}]}}]\n}\n'
    )
    for command in ("check", "run"):
        code, out, err = run_command(command, "--config", str(file))
        assert code == 23
        assert "listening" not in out
        assert f"{file}:2:" in err
        assert "inbounds[0].protocol" in err
        assert "socks" in err
        assert "users[0].id" in err
        assert "users[0].alterId" in err
        assert err.count("error:") >= 3


def test_roles_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    file.write_text(
        '[[inbounds]]\nprotocol = "socks"\nport = 1\n[[outbounds]]\nprotocol="freedom"\n'
    )
    assert run_command("server", "--config", str(file))[0] == 23
    code, _, err = run_command("client", "--config", str(file))
    assert code == 23
    assert "outbound with protocol 'vmess'" in err


def test_a_missing_file_is_named() -> None:
    code, _, err = run_command("run", "--config", "/nonexistent/config.json")
    assert code == 23
    assert "/nonexistent/config.json" in err


def test_a_taken_port_is_exit_1_with_advice() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run_command("server", "--listen", "127.0.0.1", "--port", str(port))
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in err
    assert "choose another port" in err
    assert "link:" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("serve",),
        ("client",),
        ("run",),
        ("server", "--port", "70000"),
        ("server", "--id", ""),
        ("server", "--config", "x.toml", "--port", "1"),
        ("server", "--config", "x.toml", "--allow-private"),
        ("client", "vmess://x", "--config", "x.toml"),
        ("client", "vmess://x", "--socks", "example.com:1"),
        ("demo", "--log-level", "loud"),
    ],
)
def test_usage_mistakes_are_exit_2(arguments: tuple[str, ...]) -> None:
    code, _, err = run_command(*arguments)
    assert code == 2
    assert "usage" in err


@pytest.mark.parametrize("link", ["vmess://", "vmess://!!!", "http://example.com"])
def test_a_bad_link_is_exit_23(link: str) -> None:
    code, _, err = run_command("client", link)
    assert code == 23
    assert "share link" in err


def test_the_package_is_a_program() -> None:
    assert run_command("--version") == (0, f"trio-vmess {__version__}\n", "")


def test_the_command_line_does_not_load_the_library_for_dns() -> None:
    code = (
        "import sys, trio_vmess.cli.commands, trio_vmess.diagnosis; sys.exit('dns' in sys.modules)"
    )
    done = run_python("-c", code, limit=30)
    assert (done.returncode, done.stderr) == (0, "")
