"""`python -m fqvit_hw.sim.networks`."""

import sys

from .net import main

sys.exit(main())
