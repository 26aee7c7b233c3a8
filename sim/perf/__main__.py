"""`python -m fqvit_hw.sim.perf`."""

import sys

from .command import main

sys.exit(main())
