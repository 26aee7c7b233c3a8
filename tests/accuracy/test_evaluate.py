"""One record per image, from the float model, the integers and a reference."""

import numpy as np
import pytest

from fqvit_hw import PRESETS
from fqvit_hw.accuracy.evaluate import Evaluator, top
from fqvit_hw.data.batches import Batch
from tests.models import MEAN, STD, random_images, tiny_quantized, tiny_vit

torch = pytest.importorskip("torch", reason="the float model runs in torch")


class Off:
    """A reference whose logits are float's plus a ramp."""

    def __init__(self, model):
        self.model = model

    def run(self, images):
        return Evaluator(self.model, {}, mean=MEAN, std=STD).run_float(images) + np.arange(5)


@pytest.fixture(scope="module")
def evaluator():
    model = tiny_vit(seed=1)
    networks = {name: tiny_quantized(model, config) for name, config in PRESETS.items()}
    return Evaluator(model, networks, {"a": Off(model)}, MEAN, STD)


def test_records(evaluator):
    images = random_images(6, seed=9)
    batch = Batch(images, [f"x/{i}" for i in range(6)], [0, 1, 2, 3, 4, 0], [("x/b", "why")])
    broken, *records = evaluator.score(batch)
    assert broken == {"file": "x/b", "broken": "why"}
    assert [(r["file"], r["label"]) for r in records] == list(
        zip(batch.files, batch.labels, strict=True)
    )
    normalized = (images / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    with torch.inference_mode():
        real = evaluator.model(torch.tensor(normalized).float()).double().numpy()
    for i, record in enumerate(records):
        assert record["top5"]["float"] == np.argsort(-real[i]).tolist()
        assert record["signal"] == pytest.approx((real[i] ** 2).sum(), rel=1e-4)
        assert record["error"]["reference a"] == pytest.approx(30)  # 0 + 1 + 4 + 9 + 16
        assert record["top5"]["reference a"] == np.argsort(-real[i] - np.arange(5)).tolist()
        for name, qm in evaluator.networks.items():
            y = qm.run(images)[i] * qm.logit_scale
            assert record["top5"][f"integer {name}"] == np.argsort(-y, kind="stable").tolist()
            expected = ((y - real[i]) ** 2).sum()
            assert record["error"][f"integer {name}"] == pytest.approx(expected, rel=1e-3)


def test_nothing_to_score(evaluator):
    assert evaluator.score(Batch(np.empty(0, np.uint8))) == []


def test_engine_and_device_are_passed_on(evaluator):
    seen = []

    class Model:
        def run(self, images, **choice):
            seen.append(choice)

    for engine, device in ((None, None), ("torch", "cuda"), ("fast", None)):
        Evaluator(None, {}, engine=engine, device=device).run_integers(Model(), None)
    assert seen == [{}, {"engine": "torch", "device": "cuda"}, {"engine": "fast"}]


def test_top_of_equal_logits_is_the_first_class():
    assert top(np.array([[1, 3, 3, 0, 3, 2, 1]])).tolist() == [[1, 2, 4, 5, 0]]
    assert top(np.array([[1, 2]])).tolist() == [[1, 0]]
