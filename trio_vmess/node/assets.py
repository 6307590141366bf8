"""Finds V2Ray's data files: `geoip.dat`, `geosite.dat`, and those that `ext:` entries name."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

LOCATION_VARIABLE: Final = "V2RAY_LOCATION_ASSET"

SYSTEM_FOLDERS: Final = (
    "/usr/local/share/v2ray",
    "/usr/share/v2ray",
    "/usr/local/share/xray",
    "/usr/share/xray",
    "/etc/v2ray",
)
"""Where installers and packages put them; `/etc/v2ray` is used by Debian 11's `v2ray`.

Source:
    v2ray-core, common/platform/others.go, GetAssetLocation.
"""

_ORIGINS: Final = {
    "geoip.dat": "it is released at github.com/v2fly/geoip",
    "geosite.dat": "it is released as dlc.dat at github.com/v2fly/domain-list-community",
}
_PACKAGES: Final = "Arch Linux and others have packages, `v2ray-geoip` and the like"


class Assets:
    """Finds data files by name.

    Args:
        folders: searched first, such as that of the configuration file.
        environ: the environment; None for that of the process.
        system_folders: searched last.

    Attributes:
        folders: all folders, in the order of the search.
    """

    def __init__(
        self,
        folders: Iterable[Path] = (),
        *,
        environ: Mapping[str, str] | None = None,
        system_folders: Iterable[str] = SYSTEM_FOLDERS,
    ) -> None:
        variables = os.environ if environ is None else environ
        named = variables.get(LOCATION_VARIABLE)
        self.folders: Final[tuple[Path, ...]] = tuple(
            dict.fromkeys(
                (*folders, *((Path(named),) if named else ()), *map(Path, system_folders))
            )
        )

    def load(self, name: str) -> bytes:
        """Return the content of the first file with this name, or of an absolute path.

        Raises:
            FileNotFoundError: no such file; the text lists the folders and what to do.
            OSError: the file cannot be read; the text gives the reason.
        """
        for path in (folder / name for folder in self.folders):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise OSError(f"{path} cannot be read: {exc.strerror}") from exc
        if Path(name).is_absolute():
            raise FileNotFoundError(f"{name} does not exist")
        origin = _ORIGINS.get(Path(name).name)
        where = ", ".join(map(str, self.folders))
        what = f"; {origin}; {_PACKAGES}" if origin else ""
        raise FileNotFoundError(
            f"{name} was not found in {where}: put it into one of them, or set "
            f"{LOCATION_VARIABLE} to its folder{what}"
        )
