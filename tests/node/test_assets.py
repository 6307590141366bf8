from pathlib import Path

import pytest

from trio_vmess.node.assets import SYSTEM_FOLDERS, Assets


def test_the_first_folder_with_the_file_is_used(tmp_path: Path) -> None:
    beside, named = tmp_path / "beside", tmp_path / "named"
    for folder in (beside, named):
        folder.mkdir()
        (folder / "both.dat").write_bytes(folder.name.encode())
    (named / "one.dat").write_bytes(b"one")
    assets = Assets([beside], environ={"V2RAY_LOCATION_ASSET": str(named)})
    assert assets.folders == (beside, named, *map(Path, SYSTEM_FOLDERS))
    assert assets.load("both.dat") == b"beside"
    assert assets.load("one.dat") == b"one"


def test_each_folder_is_searched_once(tmp_path: Path) -> None:
    assets = Assets([tmp_path, tmp_path], environ={"V2RAY_LOCATION_ASSET": "/usr/share/v2ray"})
    assert len(assets.folders) == 1 + len(SYSTEM_FOLDERS)


def test_an_absolute_path_is_not_searched_for(tmp_path: Path) -> None:
    (tmp_path / "own.dat").write_bytes(b"own")
    assert Assets(environ={}).load(str(tmp_path / "own.dat")) == b"own"
    with pytest.raises(FileNotFoundError, match=r"^/nowhere/at/all\.dat does not exist$"):
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
    assert text.startswith(f"{name} was not found in {tmp_path}: put it into one of them, or set ")
    assert "V2RAY_LOCATION_ASSET" in text
    assert advice in text
    assert ("is released" in text) is bool(advice)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "geoip.dat").mkdir()
    with pytest.raises(OSError, match=r"geoip.dat cannot be read: Is a directory"):
        Assets([tmp_path], environ={}).load("geoip.dat")
