"""`trio-vmess decode`: its output line by line, as text and as JSON, and its exit codes."""

import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.core.dissection.recordings import record
from tests.kit.packets import CLIENT, TcpConversation, record_exchange, write_pcap
from tests.kit.pair import NOW, USER_ID
from tests.kit.vectors import load, unpack
from trio_vmess.cli.arguments import DecodeArguments
from trio_vmess.cli.decoded_text import format_time, preview
from trio_vmess.cli.main import main
from trio_vmess.cli.parser import parse_arguments
from trio_vmess.core.vmess import Command, Security, format_user_id

ID: Final = format_user_id(USER_ID)
MANUAL: Final = Path(__file__).parents[2] / "docs" / "troubleshooting.md"

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["decode", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def example_capture(folder: Path) -> Path:
    """Return the capture of the manual: a connection with a damaged chunk, and one of TLS."""
    recording = record(uplink=[REQUEST], downlink=[ANSWER, bytes(3000), b"the rest"])
    downlink = bytearray(recording.downlink)
    downlink[500] ^= 1
    stranger = TcpConversation(client=(CLIENT[0], 50001), time=NOW + 2.0)
    stranger.open()
    stranger.send(0, bytes.fromhex("160301020001000000") + bytes(500))
    file = folder / "server.pcap"
    packets = record_exchange(recording.uplink, bytes(downlink))
    file.write_bytes(write_pcap([*packets, *stranger.packets]))
    return file


def hex_file(folder: Path, uplink: bytes, downlink: bytes = b"") -> str:
    file = folder / "session.hex"
    file.write_text(f"> {uplink.hex()}\n< {downlink.hex()}\n", "ascii")
    return str(file)


def test_the_manual_shows_what_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    example_capture(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "--id", ID, "--payload", "server.pcap")
    assert (code, err) == (0, "")
    shown = re.findall(
        r"^```\n\$ trio-vmess decode (.*)\n([^`]*)^```$", MANUAL.read_text(), re.MULTILINE
    )
    assert shown == [(f"--id {ID} --payload server.pcap", out)]


def test_json_has_the_same_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--id", ID, "--json", str(example_capture(tmp_path)))
    assert code == 0
    values = [json.loads(line) for line in out.splitlines()]
    assert [value["kind"] for value in values] == [
        *("connection", "request", "chunk", "chunk"),
        *("response", "chunk", "damaged", "chunk", "chunk", "end", "end"),
        *("connection", "unrecognised", "summary"),
    ]
    request, chunk = values[1:3]
    assert request == {
        "connection": 1,
        "from": "client",
        "kind": "request",
        "offset": 0,
        "size": request["size"],
        "form": "aead",
        "alter_id": None,
        "timestamp": NOW,
        "clock_offset": 0,
        "version": 1,
        "response_auth": request["response_auth"],
        "options": 13,
        "option_names": ["chunk stream", "masked sizes", "padding"],
        "security": "aes-128-gcm",
        "padding": request["padding"],
        "command": "tcp",
        "network": "tcp",
        "host": "example.com",
        "port": 443,
    }
    assert chunk == {
        "connection": 1,
        "from": "client",
        "kind": "chunk",
        "offset": request["size"],
        "number": 0,
        "size": len(REQUEST) + 16 + chunk["padding"],
        "authenticated_length": None,
        "overhead": 16,
        "padding": chunk["padding"],
        "payload_size": len(REQUEST),
        "is_terminator": False,
    }
    assert values[-1] == {"kind": "summary", "connections": 2, "recognised": 1, "skipped": {}}


# Secrets and payload ------------------------------------------------------------------------------

DYNAMIC_PORT: Final = next(
    capture
    for capture in load("captures_v2ray_tcp")
    if capture["decoded"]["response_header"]["command"]
)


def run_capture(
    capture: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> str:
    file = hex_file(
        folder, unpack(capture["client_to_server"]), unpack(capture["server_to_client"])
    )
    time = str(capture["captured_at"])
    code, out, err = run(capsys, "--id", capture["user_id"], "--time", time, *more, file)
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "JSON"])
def test_keys_and_payload_are_shown_only_when_asked_for(
    form: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = DYNAMIC_PORT["decoded"]["request_header"]
    offered = DYNAMIC_PORT["decoded"]["response_header"]["command"]["uuid"]
    secrets = [header["body_iv"], header["body_key"], offered]
    payload = unpack(DYNAMIC_PORT["sent"][0])[:20]
    payload_text = payload.hex() if form else payload.decode("ascii")

    out = run_capture(DYNAMIC_PORT, tmp_path, capsys, *form)
    assert not [each for each in [*secrets, payload_text] if each in out]
    out = run_capture(DYNAMIC_PORT, tmp_path, capsys, *form, "--secrets")
    assert [each for each in secrets if each not in out] == []
    assert payload_text not in out
    out = run_capture(DYNAMIC_PORT, tmp_path, capsys, *form, "--payload")
    assert payload_text in out


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "JSON"])
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("captures_xray_udp", "xudp-aes"),
        ("captures_singbox_udp", "packetaddr-aes"),
        ("captures_v2ray_tcp", "aead-aes-mux"),
        ("captures_singbox_legacy", "legacy-alter4-none"),
        ("captures_xray_tcp", "aes-auth-length"),
    ],
)
def test_every_kind_of_finding_has_its_line(
    file: str,
    name: str,
    form: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capture = next(each for each in load(file) if each["name"] == name)
    out = run_capture(capture, tmp_path, capsys, "--payload", *form)
    text, objects = {
        "xudp-aes": (r"mux new 0, xudp udp:127\.0\.0\.1:\d+, 10 bytes, global id", "global_id"),
        "packetaddr-aes": (r"packetaddr udp:127\.0\.0\.1:\d+, 10 bytes", '"kind": "datagram"'),
        "aead-aes-mux": (r"mux new 1, tcp:example\.com:80, 600 bytes\n", '"status": "end"'),
        "legacy-alter4-none": (r"legacy header, alter id 1", '"kind": "raw"'),
        "aes-auth-length": (r"authenticated length \d+", r'"authenticated_length": \d+'),
    }[name]
    assert re.search(objects if form else text, out)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"GET / HTTP/1.1\r\n", r'"GET / HTTP/1.1\r\n"'),
        (b'say "hi" \\', r'"say \"hi\" \\"'),
        (b"\x1b[2J", "1b5b324a"),
        ("é".encode(), "c3a9"),
        (b"x" * 49, '"' + "x" * 48 + '"…'),
        (bytes(49), "00" * 48 + "…"),
    ],
)
def test_payload_cannot_play_tricks_with_a_terminal(data: bytes, shown: str) -> None:
    assert preview(data) == shown


def test_a_time_that_no_calendar_has_is_a_number() -> None:
    assert format_time(NOW) == "2023-11-14 22:13:20 UTC"
    assert format_time(2**62) == f"{2**62} UTC seconds"


# Clocks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (NOW, "the same time as --time"),
        (NOW - 5, "5 s after --time"),
        (NOW + 120, "120 s before --time"),
        (NOW + 3700, "3700 s before --time (1:01:40; servers allow 120 s)"),
    ],
)
def test_how_far_a_clock_is_off_is_shown(
    time: int, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = hex_file(tmp_path, record().uplink)
    _, out, _ = run(capsys, "--id", ID, "--time", str(time), file)
    assert f"made 2023-11-14 22:13:20 UTC, {shown}\n" in out


def test_hex_text_is_compared_with_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--id", ID, hex_file(tmp_path, record().uplink))
    assert re.search(r"\d+ s before now \(\d+ days", out)


# Arguments and exit codes -------------------------------------------------------------------------


def test_arguments_are_typed() -> None:
    parsed = parse_arguments(
        [
            *("decode", "--id", ID, "--alter-id", "4", "--time", "2023-11-14T23:13:20+01:00"),
            *("--dialect", "document", "--payload", "--secrets", "--json", "-"),
        ]
    )
    assert parsed == DecodeArguments(
        file="-",
        user_id=USER_ID,
        alter_id=4,
        time=NOW,
        dialect="document",
        payload=True,
        secrets=True,
        json=True,
    )


@pytest.mark.parametrize("text", ["1700000000", "2023-11-14T22:13:20", "2023-11-14 22:13:20Z"])
def test_times_are_in_utc(text: str) -> None:
    parsed = parse_arguments(["decode", "--id", ID, "--time", text, "-"])
    assert isinstance(parsed, DecodeArguments)
    assert parsed.time == NOW


@pytest.mark.parametrize("text", ["", "now", "-5", "9" * 30, "1.5", "2023-13-01"])
def test_what_is_no_time_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["decode", "--id", ID, f"--time={text}", "-"])
    assert ended.value.code == 2
    assert "is not a valid time" in capsys.readouterr().err


def test_the_id_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["decode", "-"])
    assert ended.value.code == 2
    assert "--id" in capsys.readouterr().err


def test_another_id_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--id", "another", hex_file(tmp_path, record().uplink))
    assert code == 1
    assert "not readable: it does not begin with an AEAD header of this id, nor" in out
    assert err == (
        "error: no connection of this user was found; to look for legacy headers of another time, "
        "say with --time when that was\n"
    )


def test_an_empty_recording_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "empty.pcap"
    file.write_bytes(write_pcap([]))
    code, _, err = run(capsys, "--id", ID, str(file))
    assert (code, err) == (1, "error: the recording has no bytes of any TCP connection\n")


def test_a_file_that_is_no_recording_is_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[[inbounds]]\n")
    code, out, err = run(capsys, "--id", ID, str(file))
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {file}: line 1: '[' is not a hex digit; expected a capture")


def test_a_file_that_is_not_there_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--id", ID, "/nonexistent/a.pcap")
    assert (code, err) == (1, "error: /nonexistent/a.pcap: No such file or directory\n")


def test_the_extra_that_is_missing_is_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "trio_vmess.diagnosis.decode.packets", raising=False)
    monkeypatch.setitem(sys.modules, "dpkt", None)
    code, _, err = run(capsys, "--id", ID, str(example_capture(tmp_path)))
    assert code == 1
    assert err == (
        "error: reading captures needs another package: pip install 'trio-vmess[decode]'\n"
    )


def test_standard_input_is_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record(Security.CHACHA20_POLY1305, command=Command.UDP, uplink=[b"x"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(recording.uplink.hex().encode())))
    code, out, _ = run(capsys, "--id", ID, "-")
    assert code == 0
    assert "command udp to example.com:443" in out


def test_a_reader_that_has_enough_ends_it_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as broken:
        monkeypatch.setattr("sys.stdout", broken)
        assert main(["decode", "--id", ID, str(example_capture(tmp_path))]) == 0
    assert capfd.readouterr().err == ""
