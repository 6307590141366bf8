"""What the tests may do on this machine, and how to do without it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NOBODY: Final = 65_534

IS_ROOT: Final = hasattr(os, "geteuid") and os.geteuid() == 0


@contextlib.contextmanager
def without_rights() -> Iterator[Path]:
    """Be nobody for the length of the block, if we are root; give a folder of that user's own."""
    with tempfile.TemporaryDirectory() as folder:
        if IS_ROOT:
            os.chown(folder, NOBODY, NOBODY)
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            if IS_ROOT:
                os.seteuid(0)
                os.setegid(0)
