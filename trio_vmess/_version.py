"""The one place where the version number is written."""

from typing import Final

__version__: Final = "0.1.0.dev0"
