"""`python -m fqvit_hw.sim.mutants`."""

import sys

from .judge import main

sys.exit(main())
