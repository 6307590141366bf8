"""The processes of a measurement: `python -m trio_vmess.bench origin` or `generator`."""

import sys
from typing import Final

from trio_vmess.bench.generator import run_generator
from trio_vmess.bench.origin import run_origin

PARTS: Final = {"origin": run_origin, "generator": run_generator}

if __name__ == "__main__":
    try:
        PARTS[sys.argv[1]]()
    except KeyboardInterrupt:
        # Ctrl-C reaches the whole process group, and the parent reports it.
        sys.exit(130)
