from pathlib import Path

import pytest

from trio_vmess.node.assets import SYSTEM_FOLDERS, Assets


def test_the_first_folder_that_has_the_file_gives_it(tmp_path: Path) -> None:
    near, named = tmp_path / "near", tmp_path / "named"
    for folder in (near, named):
        folder.mkdir()
        (folder / "both.dat").write_bytes(folder.name.encode())
    (named / "one.dat").write_bytes(b"one")
    assets = Assets([near], environ={"V2RAY_LOCATION_ASSET": str(named)})
    assert assets.folders == (near, named, *map(Path, SYSTEM_FOLDERS))
    assert assets.load("both.dat") == b"near"
    assert assets.load("one.dat") == b"one"


def test_each_folder_is_looked_in_once(tmp_path: Path) -> None:
    assets = Assets([tmp_path, tmp_path], environ={"V2RAY_LOCATION_ASSET": "/usr/share/v2ray"})
    assert len(assets.folders) == 1 + len(SYSTEM_FOLDERS)


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "own.dat").write_bytes(b"own")
    assert Assets(environ={}).load(str(tmp_path / "own.dat")) == b"own"
    with pytest.raises(FileNotFoundError, match=r"^there is no file /nowhere/at/all\.dat$"):
        Assets(environ={}).load("/nowhere/at/all.dat")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("geoip.dat", "github.com/v2fly/geoip"),
        ("geosite.dat", "github.com/v2fly/domain-list-community"),
        ("h2y.dat", ""),
    ],
)
def test_a_missing_file(tmp_path: Path, name: str, advice: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Assets([tmp_path], environ={}, system_folders=()).load(name)
    text = str(caught.value)
    assert text.startswith(f"{name} is in none of {tmp_path}: put it there, or name its folder in ")
    assert "V2RAY_LOCATION_ASSET" in text
    assert advice in text
    assert ("is released" in text) is bool(advice)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "geoip.dat").mkdir()
    with pytest.raises(OSError, match=r"geoip.dat cannot be read: Is a directory"):
        Assets([tmp_path], environ={}).load("geoip.dat")
