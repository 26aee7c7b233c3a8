"""Small machines for programs and networks that any machine runs."""

import pytest

from fqvit_hw.machine.hardware import TINY, Hardware
from fqvit_hw.sim.networks.micro import MICRO

# A square array with all lanes, beats as wide as half a tile.
SQUARE = Hardware(
    "square", rows=8, cols=8, lanes=4, norm_lanes=8, bus=128,
    acts=600, stream=96, codes=128, tiles=96, ring=20, sums=24,
    max_tokens=40, max_channels=96, params=2, prefetch=24,
    modes=("max8", "max5", "max3", "max4"),
)  # fmt: skip
# A word of the stream as wide as four beats, one lane, hardly any queue.
OBLONG = Hardware(
    "oblong", rows=2, cols=16, lanes=1, norm_lanes=1, bus=64,
    acts=2048, stream=64, codes=256, tiles=160, ring=40, sums=32,
    max_tokens=33, max_channels=48, params=1, prefetch=32, queue=1,
    modes=("max4", "lis4"), shifters=True,
)  # fmt: skip
# A beat is a whole tile, and several words of everything else.
BROAD = Hardware(
    "broad", rows=8, cols=8, lanes=2, norm_lanes=4, bus=512,
    acts=1200, stream=96, codes=128, tiles=96, ring=20, sums=24,
    max_tokens=40, max_channels=96, params=4, prefetch=16,
    modes=("max4", "uniform8"),
)  # fmt: skip
MACHINES = [
    pytest.param(TINY, id="tiny"),
    pytest.param(MICRO, id="micro"),
    pytest.param(SQUARE, id="square", marks=pytest.mark.slow),
    pytest.param(OBLONG, id="oblong", marks=pytest.mark.slow),
    pytest.param(BROAD, id="broad", marks=pytest.mark.slow),
]
