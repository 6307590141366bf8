"""`python -m trio_vmess` is `trio-vmess`."""

import sys

from trio_vmess.cli import main

sys.exit(main())
