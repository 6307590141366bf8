"""The program's exit codes and error lines, in this process."""

import errno
import os
from pathlib import Path

import pytest

from trio_vmess import __version__
from trio_vmess.cli.main import main


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr() == (f"trio-vmess {__version__}\n", "")


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: trio-vmess ")


def test_a_wrong_configuration_is_exit_23(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", "/nonexistent/node.toml"]) == 23
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: /nonexistent/node.toml")


POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions as on POSIX")


def write_node(folder: Path, log: str = "") -> Path:
    file = folder / "node.toml"
    file.write_text(f'[[outbounds]]\nprotocol = "freedom"\n{log}', "utf-8")
    return file


@pytest.mark.parametrize(
    "words",
    [
        ("check", "FILE"),
        ("check", "-c", "FILE"),
        ("check", "--config=FILE"),
        ("-test", "-config", "FILE"),
        ("-config=FILE", "-test"),
        ("--test", "FILE"),
        ("FILE", "-test"),
        ("run", "-test", "-c", "FILE"),
        ("test", "-c", "FILE"),
        ("-format", "json", "-test", "-c", "FILE"),
        ("-format=auto", "check", "FILE"),
    ],
)
def test_a_file_is_checked_in_the_words_of_v2ray_too(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_node(tmp_path))
    assert main([word.replace("FILE", file) for word in words]) == 0
    assert capsys.readouterr() == ("Configuration OK.\n", "")


@pytest.mark.parametrize("words", [("-version",), ("version",), ("--version",)])
def test_v2rays_words_for_the_version(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"trio-vmess {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("serve",), "'serve' is neither a command nor a file; did you mean 'server'?"),
        (("frobnicate",), "'frobnicate' is neither a command nor a file\n"),
        (("run",), "the configuration file is missing"),
        (("-test",), "the configuration file is missing"),
        (("run", "a.json", "-c", "b.json"), "the configuration file is given twice"),
        (("-c", "a.json", "-c", "b.json"), "only one configuration file can be used"),
        (("-confdir", "/etc/v2ray"), "folders of files are not supported"),
        (("-format=pb", "-c", "a.pb"), "the format 'pb' is not supported"),
        (("-", "x"), "'-' is neither a command nor a file"),
    ],
)
def test_what_is_no_command_is_exit_2(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nonexistent/node.toml"]) == 23
    assert capsys.readouterr().err.startswith("error: /nonexistent/node.toml: cannot read the file")


def test_check_tries_the_paths_of_both_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_node(tmp_path, f'[log]\naccess = "{tmp_path}/none/a.log"\nerror = "{tmp_path}"\n')
    assert main(["check", str(file)]) == 23
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        (
            f"error: {file}:4:1: log.access: cannot open '{tmp_path}/none/a.log': "
            f"{os.strerror(errno.ENOENT)}; choose a path that the node can write to"
        ),
        (
            f"error: {file}:5:1: log.error: cannot open '{tmp_path}': "
            f"{os.strerror(errno.EISDIR)}; choose a path that the node can write to"
        ),
    ]


@pytest.mark.parametrize("log", ["none", "", "/dev/null", "FOLDER/new.log", "FOLDER/node.toml"])
def test_logs_that_can_be_written_are_not_made(log: str, tmp_path: Path) -> None:
    if log == "/dev/null" and os.name != "posix":
        pytest.skip("no /dev/null")
    name = log.replace("FOLDER", str(tmp_path))
    file = write_node(tmp_path, f'[log]\naccess = "{name}"\nerror = "{name}"\n')
    before = file.read_bytes()
    assert main(["check", str(file)]) == 0
    assert [each.name for each in tmp_path.iterdir()] == ["node.toml"]
    assert file.read_bytes() == before


@POSIX
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_check_finds_a_log_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.log").touch(mode=0o400)
    file = write_node(tmp_path, f'[log]\naccess = "{tmp_path}/a.log"\n')
    assert main(["check", str(file)]) == 23


def test_an_unreachable_node_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--socket", "/nonexistent/node.sock"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
