"""What the trace of an integer network must have in common with the float model's tensors."""

from fqvit_hw import QuantizedModel
from fqvit_hw.network.step import Operation, Role


def trace_names(network) -> list[str]:
    """What a trace has to show, in order: the network's steps, with their inner tensors."""
    steps = network.steps
    scaled = {block.name: block.softmax.parameters(network).row_norm for block in steps.blocks}
    return [name for step in steps for name in step.tensors(scaled.get(step.block, False))]


def same_names_and_shapes(qm: QuantizedModel, real: dict, trace: dict) -> None:
    """real: float (B, ...) by name of the step; trace: codes without a batch axis."""
    steps = qm.network.steps
    assert list(real) == [step.name for step in steps if step.role is not Role.IMAGE]
    assert list(trace) == trace_names(qm.network)
    for name, codes in trace.items():
        step = steps.by_tensor[name]
        if step.name in real and name not in (step.row_reciprocal, step.row_shift):
            assert codes.shape == tuple(real[step.name].shape[1:]), name
            assert (name in qm.scales) != is_sum_of_values(qm.network, name), name


def is_sum_of_values(network, name: str) -> bool:
    """An accumulator of a context whose unit is the sum of its own row: it has no scale."""
    step = network.steps.by_tensor[name]
    if step.operation is not Operation.CONTEXT or name != step.acc:
        return False
    (block,) = (block for block in network.steps.blocks if block.name == step.block)
    return block.softmax.parameters(network).codes.of_maximum
