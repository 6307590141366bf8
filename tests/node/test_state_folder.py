"""Which folder is a node's own, and what it finds there."""

import os
from pathlib import Path

import pytest

from trio_vmess import config
from trio_vmess.errors import ConfigError
from trio_vmess.node.state_folder import StateError, StateFolders, state_folders_of

VMESS = """
[[inbounds]]
tag = "{tag}"
protocol = "vmess"
listen = "127.0.0.1"
port = {port}
users = [{{ id = "b831381d-6324-4d53-ad4f-8cda48b30811" }}]
"""


FREEDOM = '"outbounds": [{"protocol": "freedom"}]'


def folders_of(
    text: str = VMESS.format(tag="in", port=1), environ: dict[str, str] | None = None
) -> StateFolders:
    return state_folders_of(config.parse_config(text), environ or {})


def make_folders(base: Path, name: str = "node", boot: str = "one") -> StateFolders:
    boot_id = base / "boot_id"
    boot_id.write_text(boot)
    return StateFolders(base=base, name=name, boot_id=boot_id)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x"}, "/x/trio-vmess"),
        ({"XDG_STATE_HOME": "relative"}, os.path.expanduser("~/.local/state/trio-vmess")),
        ({}, os.path.expanduser("~/.local/state/trio-vmess")),
    ],
)
def test_the_usual_places(environ: dict[str, str], expected: str) -> None:
    folders = folders_of(environ=environ)
    assert (folders.base, folders.is_chosen) == (Path(expected), False)


def test_a_place_of_ones_own() -> None:
    folders = folders_of('state = "/somewhere"' + VMESS.format(tag="in", port=1))
    assert (folders.base, folders.is_chosen) == (Path("/somewhere"), True)


def test_no_place_is_wanted() -> None:
    folders = folders_of("state = false" + VMESS.format(tag="in", port=1))
    assert folders.claim() is None


def test_v2rays_format_has_the_key_too() -> None:
    assert config.parse_config(f'{{"state": false, {FREEDOM}}}').state is None
    assert config.parse_config(f'{{"state": "/x", {FREEDOM}}}').state == "/x"


def test_a_value_that_is_no_path() -> None:
    with pytest.raises(ConfigError, match="or false; found the number 7"):
        config.parse_config("state = 7" + VMESS.format(tag="in", port=1))


def test_the_same_configuration_finds_its_folder_again(tmp_path: Path) -> None:
    both = [VMESS.format(tag="a", port=1), VMESS.format(tag="b", port='"2-5"')]
    assert folders_of("".join(both)).name == folders_of("".join(reversed(both))).name
    assert folders_of(both[0]).name != folders_of(both[1]).name != ""
    names = []
    for path in (tmp_path / "one.toml", tmp_path / "two.toml", tmp_path / "x" / ".." / "one.toml"):
        (tmp_path / "x").mkdir(exist_ok=True)
        path.write_text(VMESS.format(tag="in", port=0))
        names.append(state_folders_of(config.load_config(path), {}).name)
    assert names[0] == names[2] != names[1]


def test_a_node_without_file_and_fixed_port_has_no_folder(tmp_path: Path) -> None:
    folders = folders_of(VMESS.format(tag="in", port=0), {"XDG_STATE_HOME": str(tmp_path)})
    with pytest.raises(StateError, match="no fixed port") as caught:
        folders.claim()
    assert not caught.value.is_unexpected
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_is_found_again(tmp_path: Path) -> None:
    folder = make_folders(tmp_path).claim()
    assert folder is not None
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "data").write_text("kept")
    folder.release()
    again = make_folders(tmp_path).claim()
    assert again is not None
    assert (again.path / "data").read_text() == "kept"
    again.release()


def test_what_another_boot_has_left_is_removed(tmp_path: Path) -> None:
    folder = make_folders(tmp_path).claim()
    assert folder is not None
    (folder.path / "data").write_text("half there")
    folder.release()
    again = make_folders(tmp_path, boot="two").claim()
    assert again is not None
    assert not (again.path / "data").exists()
    again.release()


def test_a_folder_has_one_node_at_a_time(tmp_path: Path) -> None:
    folder = make_folders(tmp_path).claim()
    other = make_folders(tmp_path, "other").claim()
    assert folder is not None
    assert other is not None
    with pytest.raises(StateError, match="is in use by another node") as caught:
        make_folders(tmp_path).claim()
    assert caught.value.is_unexpected
    folder.release()
    again = make_folders(tmp_path).claim()
    assert again is not None
    again.release()
    other.release()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folders = make_folders(tmp_path)
    folders = StateFolders(base=tmp_path / "file", name="node", boot_id=folders.boot_id)
    with pytest.raises(StateError, match="Not a directory"):
        folders.claim()


def test_a_system_that_does_not_say_when_it_started(tmp_path: Path) -> None:
    folders = StateFolders(base=tmp_path, name="node", boot_id=tmp_path / "missing")
    with pytest.raises(StateError, match="does not say when it was started"):
        folders.claim()
