"""The program's exit codes and error lines, in this process."""

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


def test_an_unreachable_node_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--socket", "/nonexistent/node.sock"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
