"""TLS as a person runs it: real processes, real files, real signals."""

import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import CertificateFiles, der_of, issue, write_certificate
from tests.kit.commands import run_command, running_command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")

NAME = "server.example"
PAGE = "Hello through VMess.\n"
ID = "b831381d-6324-4d53-ad4f-8cda48b30811"


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    files = write_certificate(tmp_path, NAME)
    files.key.chmod(0o600)
    return files


@pytest.fixture
def node_file(tmp_path: Path, files: CertificateFiles) -> Path:
    """Give the file of a node that forwards what comes over TLS to an echo server."""
    file = tmp_path / "node.toml"
    file.write_text(
        f'stats = true\ncontrol = "{tmp_path}/control.sock"\n'
        "[log]\n"
        'level = "warning"\n'
        "[[inbounds]]\n"
        'tag = "secure"\nprotocol = "dokodemo-door"\nlisten = "127.0.0.1"\nport = 0\n'
        'target_address = "127.0.0.1"\ntarget_port = ECHO\n'
        'tls = { certificate_file = "server.pem", key_file = "server.key" }\n'
        '[[outbounds]]\nprotocol = "freedom"\n'
    )
    return file


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def line_with(process: "subprocess.Popen[str]", pattern: str) -> re.Match[str]:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line matched {pattern!r}: {process.communicate()}")


def fetch(command: str) -> str:
    words = [*command.split(), "--silent", "--show-error", "--max-time", "20"]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("flags", [("--ws", "/tunnel"), ("--tls",), ("--ws", "/tunnel", "--tls")])
def test_a_server_and_the_client_of_its_link(
    files: CertificateFiles, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    # What the system trusts, for OpenSSL.
    monkeypatch.setenv("SSL_CERT_FILE", str(files.root))
    given = list(flags)
    if "--tls" in flags:
        given += [str(files.certificate), str(files.key)]
    with running_command("demo") as demo:
        page = line_with(demo, r"try: +curl -x socks5h\S+ (\S+)")[1]
        with running_command(
            "server", "--listen", "127.0.0.1", "--allow-private", *given
        ) as server:
            link = line_with(server, r"client: trio-vmess client '(vmess://\S+)'")[1]
            with running_command("client", link, "--socks", "127.0.0.1:0") as client:
                proxy = line_with(client, r"listening: socks on (\S+)")[1]
                assert fetch(f"curl -x socks5h://{proxy} {page}") == PAGE


def test_a_certificate_for_another_name_is_warned_about(files: CertificateFiles) -> None:
    with running_command(
        "server", "--name", "other.example", "--tls", str(files.certificate), str(files.key)
    ) as server:
        warning = line_with(server, "warning: (.*)")[1]
        assert warning.startswith(f"the certificate for {NAME}, issued by ")
        assert "is not for other.example: clients refuse it; set --name" in warning
        line_with(server, r"link: +vmess://")


def test_check_shows_certificates_and_open_keys(node_file: Path, files: CertificateFiles) -> None:
    node_file.write_text(node_file.read_text().replace("ECHO", "9"))
    files.key.chmod(0o644)
    code, out, err = run_command("check", "--config", str(node_file))
    assert code == 0
    ok, certificate = out.splitlines()
    assert ok == "Configuration OK."
    assert re.match(
        rf"certificate of secure: {NAME}, valid .*, \d+ days left, issued by", certificate
    )
    assert "can read the private key in" in err


def test_a_new_certificate_after_sighup(
    node_file: Path, echo: socket.socket, tmp_path: Path
) -> None:
    node_file.write_text(node_file.read_text().replace("ECHO", str(echo.getsockname()[1])))
    with running_command("run", "--config", str(node_file)) as node:
        host, port = line_with(node, r"listening: dokodemo-door on (\S+):(\d+)").groups()
        line_with(node, "control: ")
        with connected(host, int(port)) as old, echo.accept()[0] as old_target:
            check_passes(old, old_target)
            assert old.getpeercert(binary_form=True) == der_of(issue(NAME))
            write_certificate(tmp_path, "renewed.example")
            node.send_signal(signal.SIGHUP)
            assert node.stderr is not None
            assert any("tls.reloaded inbound=secure" in line for line in node.stderr)
            with connected(host, int(port)) as new, echo.accept()[0] as new_target:
                assert new.getpeercert(binary_form=True) == der_of(issue("renewed.example"))
                check_passes(new, new_target)
                check_passes(old, old_target)
        out = run_command("stats", "--socket", f"{tmp_path}/control.sock")[1]
        assert "certificate of secure: renewed.example, valid" in out


def connected(host: str, port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection((host, port), timeout=20)
    return context.wrap_socket(plain, server_hostname=NAME)


def check_passes(stream: ssl.SSLSocket, target: socket.socket) -> None:
    """Send something both ways."""
    stream.sendall(b"ping")
    assert target.recv(10) == b"ping"
    target.sendall(b"pong")
    assert stream.recv(10) == b"pong"
