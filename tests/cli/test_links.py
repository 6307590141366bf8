"""The share link from an argument, a file, standard input or the environment."""

import io
from pathlib import Path

import pytest

from trio_vmess.cli.links import LINK_VARIABLE, find_link
from trio_vmess.cli.main import main
from trio_vmess.errors import ConfigError

LINK = "vmess://b831381d-6324-4d53-ad4f-8cda48b30811@192.0.2.1:443"


def find(
    argument: str | None, *, stdin: str | None = None, environ: dict[str, str] | None = None
) -> str:
    stream = None if stdin is None else io.StringIO(stdin)
    return find_link(argument, environ=environ or {}, stdin=stream)


def test_a_link_is_found_wherever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "link"
    file.write_text(f"\n {LINK}\n")
    assert find(LINK) == LINK
    assert find(f"@{file}") == LINK
    assert find("-", stdin=f"{LINK}\nanother line\n") == LINK
    assert find(None, environ={LINK_VARIABLE: LINK}) == LINK


def test_an_argument_comes_before_the_environment() -> None:
    assert find(LINK, environ={LINK_VARIABLE: "vmess://other"}) == LINK


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for argument, expected in (
        ("@/nonexistent/link", "/nonexistent/link: cannot read the link: No such file"),
        (f"@{binary}", f"{binary}: expected a text with a vmess:// link"),
        ("-", "standard input: expected a vmess:// link"),
        (None, "TRIO_VMESS_LINK: expected a vmess:// link"),
    ):
        with pytest.raises(ConfigError) as caught:
            find(argument, environ={LINK_VARIABLE: " "})
        assert str(caught.value.problems[0]).startswith(expected)


def test_without_any_link_the_usage_says_what_is_possible(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LINK_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["client"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert (
        "a vmess:// link, @FILE, '-', TRIO_VMESS_LINK in the environment, or --config FILE is "
        "needed"
    ) in err


def test_a_link_in_the_environment_is_used(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LINK_VARIABLE, "vmess://nothing-of-the-kind")
    assert main(["client"]) == 23
    assert "error: " in capsys.readouterr().err


def test_a_file_wins_over_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LINK_VARIABLE, LINK)
    assert main(["client", "--config", "/nonexistent/node.toml"]) == 23
    assert "/nonexistent/node.toml" in capsys.readouterr().err
