"""The fast engine as the default, in forked processes, without torch; equality: test_engines.py."""

import subprocess
import sys

import numpy as np
import pytest

from fqvit_hw import QuantizedModel, engines
from fqvit_hw.data import digits
from fqvit_hw.engines import fast

reason = fast.available()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"no fast engine: {reason}")


def test_digits_is_the_default():
    qm = QuantizedModel.load(digits.NETWORK_FILE)
    images = digits.test_set()[0][:40]
    assert engines.default_engine() == "fast"
    np.testing.assert_array_equal(qm.run(images), qm.run(images, engine="numpy"))


def test_a_forked_child_does_not_hang():
    """OpenMP's threads do not survive a fork: a child goes on with one."""
    code = (
        "import os, numpy as np; from fqvit_hw import QuantizedModel; "
        "from fqvit_hw.data import digits; "
        "from fqvit_hw.engines import fast; fast.set_threads(2); "
        "qm = QuantizedModel.load(digits.NETWORK_FILE); x = digits.test_set()[0][:9]; "
        "y = qm.run(x, engine='fast'); child = os.fork()\n"
        "if child == 0: os._exit(0 if np.array_equal(qm.run(x, engine='fast'), y) else 1)\n"
        "print('child', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout == "child 0\n", done.stderr


def test_no_torch():
    code = (
        "import sys; from fqvit_hw import QuantizedModel; from fqvit_hw.data import digits; "
        "m = QuantizedModel.load(digits.NETWORK_FILE); "
        "m.run(digits.test_set()[0][:2], engine='fast'); "
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules); print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr
