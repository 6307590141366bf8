"""Where V2Ray's data files are: `geoip.dat`, `geosite.dat`, and those that `ext:` entries name."""

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
"""Where installers and packages put them; `/etc/v2ray` is where Debian 11's `v2ray` does.

Source:
    v2ray-core, common/platform/others.go, GetAssetLocation.
"""

_ORIGINS: Final = {
    "geoip.dat": "it is released at github.com/v2fly/geoip",
    "geosite.dat": "it is released as dlc.dat at github.com/v2fly/domain-list-community",
}
_PACKAGES: Final = "Arch Linux and others have packages, `v2ray-geoip` and the like"


class Assets:
    """Finds data files by their names.

    Args:
        folders: looked in first, as the configuration file's own.
        environ: the environment; None for that of the process.
        system_folders: looked in last.

    Attributes:
        folders: all that are looked in, in that order.
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
        """Return the content of the first file of a name; an absolute path is taken as it is.

        Raises:
            FileNotFoundError: there is none; the text says where it was looked for, and what to do.
            OSError: it cannot be read; the text says why.
        """
        for path in (folder / name for folder in self.folders):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise OSError(f"{path} cannot be read: {exc.strerror}") from exc
        if Path(name).is_absolute():
            raise FileNotFoundError(f"there is no file {name}")
        origin = _ORIGINS.get(Path(name).name)
        where = ", ".join(map(str, self.folders))
        what = f"; {origin}; {_PACKAGES}" if origin else ""
        raise FileNotFoundError(
            f"{name} is in none of {where}: put it there, or name its folder in "
            f"{LOCATION_VARIABLE}{what}"
        )
