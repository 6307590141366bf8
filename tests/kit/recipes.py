"""Configurations of other programs that the manual recommends, to be run as they stand there."""

import re
from pathlib import Path
from typing import Final

_MANUAL: Final = Path(__file__).parents[2] / "docs" / "transports.md"


def recipes(language: str) -> list[str]:
    """Return the manual's blocks in one language, such as `nginx`, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", _MANUAL.read_text(), re.DOTALL | re.MULTILINE)


def with_socket(recipe: str, path: str) -> str:
    """Return a recipe with another Unix socket in the place of the manual's."""
    changed, count = re.subn(r"/run/trio-vmess/\w+\.sock", path, recipe)
    if count != 1:
        raise ValueError(f"expected one socket, found {count}: {recipe}")
    return changed
