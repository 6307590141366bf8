"""The processes behind a measurement: `python -m trio_vmess.bench origin` or `generator`."""

import sys
from typing import Final

from trio_vmess.bench.generator import run_generator
from trio_vmess.bench.origin import run_origin

PARTS: Final = {"origin": run_origin, "generator": run_generator}

if __name__ == "__main__":
    try:
        PARTS[sys.argv[1]]()
    except (
        KeyboardInterrupt
    ):  # Ctrl-C reaches the whole group; the parent says what there is to say
        sys.exit(130)
