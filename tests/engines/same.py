"""What it means that an engine equals the specification."""

import numpy as np

from tests.network.names import trace_names


def assert_same(qm, images, **engine):
    """Logits of all images, and every tensor of the first one's trace, with dtypes."""
    spec, ours = qm.trace(images[0], engine="numpy"), qm.trace(images[0], **engine)
    assert list(ours) == list(spec) == trace_names(qm.network)
    for name, tensor in spec.items():
        assert ours[name].dtype == tensor.dtype, name
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)
    logits = qm.run(images, **engine)  # without a record: the fused path
    assert logits.dtype == np.int32
    np.testing.assert_array_equal(logits, qm.run(images, engine="numpy"))
