"""Secrets among the arguments: what is overwritten, in a process made of files."""

from pathlib import Path

import pytest

from trio_vmess.cli.hidden_arguments import hide_secret_arguments

START = 40


def make_process(folder: Path, *arguments: str) -> bytes:
    """Lay out a process as in /proc; return what it shows."""
    shown = "".join(f"{each}\0" for each in arguments).encode()
    fields = [b"0"] * 49
    fields[45] = str(START).encode()
    (folder / "cmdline").write_bytes(shown)
    (folder / "stat").write_bytes(b"1 (odd ) name) " + b" ".join(fields))
    (folder / "mem").write_bytes(bytes(START) + shown + b"behind")
    return shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("t", "client", "vmess://abc"), ("t", "client", "vmess://***")),
        (
            ("t", "client", "VMESS://abc", "--id", "de"),
            ("t", "client", "VMESS://***", "--id", "**"),
        ),
        (("t", "server", "--id=abc", "--port", "1"), ("t", "server", "--id=***", "--port", "1")),
        (("t", "server", "--i", "abc"), ("t", "server", "--i", "***")),
        (("t", "run", "--config", "my--id=file"), ("t", "run", "--config", "my--id=file")),
    ],
)
def test_links_and_ids_are_overwritten_and_nothing_else(
    arguments: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    make_process(tmp_path, *arguments)
    assert hide_secret_arguments(tmp_path)
    shown = "".join(f"{each}\0" for each in expected).encode()
    assert (tmp_path / "mem").read_bytes() == bytes(START) + shown + b"behind"


def test_a_system_that_does_not_let_us_is_no_error(tmp_path: Path) -> None:
    assert not hide_secret_arguments(tmp_path)
    make_process(tmp_path, "t", "client", "vmess://abc")
    (tmp_path / "mem").unlink()
    assert not hide_secret_arguments(tmp_path)
