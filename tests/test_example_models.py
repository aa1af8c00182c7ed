"""The networks of docs/models.md: their data has the truth that it claims, and RAP conserves relevance in them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from rap_keras import RAP
from rap_keras.engine.checks.conservation import check, lively_weights

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))

import models

NAMES = tuple(models.ALL)


def arrays(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", NAMES)
def test_relevance_is_conserved(name):
    model = lively_weights(models.ALL[name].build())
    x = models.ALL[name].data(2, 0)[0]
    analyzer = RAP(model)
    found = check(analyzer, x)
    assert found.passed(), found.not_conserved()
    total = sum(np.sum(R, axis=tuple(range(1, R.ndim)), dtype=float) for R in arrays(analyzer.analyze(x)))
    np.testing.assert_allclose(total, model.predict_on_batch(x).max(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_differ_from_the_background_in_the_truth_alone(name):
    module = models.ALL[name]
    inputs, labels, truth = module.data(12, 3)
    assert sorted(set(labels)) == list(range(module.CLASSES))
    has_truth = arrays(truth)[0].reshape(12, -1).any(1)
    # Classes that equal the background have no truth; all others have one.
    assert has_truth.tolist() == [label in module.WITH_TRUTH for label in labels]
    changed = np.stack(
        [(x != y).any(-1) for x, y in zip(arrays(inputs), arrays(module.background(12, 3)))], axis=1
    )
    inside = np.stack(arrays(truth), axis=1)
    assert not (changed & ~inside).any()
    for number in np.flatnonzero(has_truth):
        assert inside[number].mean() < 0.5
        # Only one of two inputs is changed.
        there = changed[number].any(0) if changed.shape[1] > 1 else changed[number, 0]
        assert there[inside[number, 0]].mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_data_depends_on_the_seed_alone(name):
    module = models.ALL[name]
    first, again, other = (arrays(module.data(4, seed)[0])[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9
