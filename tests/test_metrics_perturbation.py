"""Region perturbation by hand, against a second implementation in loops, and against Quantus."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow import keras

from rap_keras.metrics import ORDERS, aopc, region_perturbation

# Two classes whose logits are sums over the two channels of a 2 x 2 image.
IMAGE = np.array([[[[5.0, 1.0], [3.0, 2.0]], [[1.0, 4.0], [0.0, 1.0]]]])
RELEVANCE = np.array([[[4.0, 1.0], [-2.0, 0.0]]])
ORDER = {"morf": [0, 1, 3, 2], "lerf": [2, 3, 1, 0]}


def channel_sums(x):
    return x.sum(axis=(1, 2))


def random_case(n=5, side=6, channels=3):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, side, side, channels)).astype(np.float32)
    heatmaps = rng.integers(-3, 4, size=(n, side, side)).astype(np.float32)  # full of ties
    weights = rng.normal(size=(side * side * channels, 4))

    def predict(batch):
        return np.tanh(batch.reshape(len(batch), -1)) @ weights

    return predict, x, heatmaps, predict(x).argmax(axis=1)


def by_loops(predict, x, heatmaps, targets, order, pixels, steps, fill):
    """Correctness and logits, computed pixel by pixel."""
    correct, logits = [], []
    for image, relevance, target in zip(x, heatmaps, targets):
        height, width = relevance.shape
        places = [(row, column) for row in range(height) for column in range(width)]
        sign = 1 if order == "lerf" else -1
        places = sorted(places, key=lambda place: (sign * relevance[place], place))
        image, removed = image.copy(), 0
        correct.append([]), logits.append([])
        for step in range(steps + 1):
            while removed < step * pixels:
                image[places[removed]] = fill
                removed += 1
            found = predict(image[np.newaxis])[0]
            correct[-1].append(max(range(len(found)), key=lambda label: found[label]) == target)
            logits[-1].append(found[target])
    return np.array(correct), np.array(logits)


def test_most_relevant_first():
    correct, logit = region_perturbation(
        channel_sums, IMAGE, RELEVANCE, np.array([0]), order="morf", pixels=1, steps=4
    )
    # The logits are 9 and 8, 4 and 7, 1 and 5, 1 and 4, 0 and 0: in a tie the first class wins.
    assert logit.tolist() == [[9, 4, 1, 1, 0]]
    assert correct.tolist() == [[True, False, False, False, True]]
    assert (logit.dtype, correct.dtype) == (np.float64, bool)
    assert aopc(logit) == pytest.approx([(0 + 5 + 8 + 8 + 9) / 5])


def test_least_relevant_first():
    correct, logit = region_perturbation(channel_sums, IMAGE, RELEVANCE, np.array([1]), pixels=2, steps=1)
    # 9 and 8 become 8 and 3.
    assert logit.tolist() == [[8, 3]]
    assert correct.tolist() == [[False, False]]


@pytest.mark.parametrize("order", ["lerf", "morf"])
def test_which_pixels_are_removed(order):
    seen = []
    fill = np.array([-1.0, -2.0])

    def predict(x):
        seen.append(x)
        return channel_sums(x)

    region_perturbation(predict, IMAGE, RELEVANCE, np.array([0]), order=order, pixels=1, steps=4, fill=fill)
    assert len(seen) == 5
    for step, x in enumerate(seen):
        expected = IMAGE.reshape(4, 2).copy()
        expected[ORDER[order][:step]] = fill
        assert x.reshape(4, 2).tolist() == expected.tolist()


def test_of_equal_pixels_the_first_goes_first():
    x = np.arange(1.0, 5.0).reshape(1, 2, 2, 1)
    for order in ("lerf", "morf"):
        found = region_perturbation(
            channel_sums, x, np.zeros((1, 2, 2)), np.array([0]), order=order, pixels=1, steps=4
        )
        assert found.logit.tolist() == [[10, 9, 7, 4, 0]]


@pytest.mark.parametrize("order", ["lerf", "morf"])
@pytest.mark.parametrize("fill", [0.0, [0.5, -1.0, 2.0]])
def test_is_that_of_loops(order, fill):
    case = random_case()
    found = region_perturbation(*case, order=order, pixels=4, steps=8, fill=fill)
    correct, logit = by_loops(*case, order=order, pixels=4, steps=8, fill=fill)
    np.testing.assert_array_equal(found.correct, correct)
    np.testing.assert_allclose(found.logit, logit, rtol=1e-9)
    assert found.correct[:, 0].all()
    assert not found.correct.all()


@pytest.mark.parametrize(("order", "sign"), [("morf", 1), ("lerf", -1)])
def test_logits_are_those_of_quantus(order, sign):
    quantus = pytest.importorskip("quantus")
    layers = [keras.layers.Conv2D(4, 3, activation="tanh"), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 3)), *layers])
    rng = np.random.default_rng(6)
    x, targets = rng.normal(size=(5, 6, 6, 3)).astype(np.float32), rng.integers(0, 3, size=5)
    heatmaps = rng.normal(size=(5, 6, 6))
    # Quantus removes single values. It ranks the channels of a pixel equally, so three values make a pixel.
    flipping = quantus.PixelFlipping(
        features_in_step=3 * 4, perturb_baseline=0.25, normalise=False, abs=False, disable_warnings=True
    )
    expected = flipping(
        model, x, targets, sign * heatmaps[:, np.newaxis], channel_first=False, softmax=False
    )  # without the unperturbed image
    found = region_perturbation(model.predict, x, heatmaps, targets, order, pixels=4, steps=9, fill=0.25)
    np.testing.assert_allclose(found.logit[:, 1:], expected, rtol=1e-5)
    np.testing.assert_allclose(found.logit[:, 0], model.predict(x)[np.arange(5), targets], rtol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_an_image_does_not_depend_on_its_batch(order):
    predict, x, heatmaps, targets = random_case()
    seeds = np.array([7, 7, 1, 0, 3])
    options = {"order": order, "pixels": 4, "steps": 8}
    together = region_perturbation(predict, x, heatmaps, targets, seeds=seeds, **options)
    for i in range(len(x)):
        one = np.s_[i : i + 1]
        alone = region_perturbation(predict, x[one], heatmaps[one], targets[one], seeds=seeds[one], **options)
        np.testing.assert_array_equal(alone.correct, together.correct[one])
        np.testing.assert_allclose(alone.logit, together.logit[one], rtol=1e-9)


def test_random_order():
    x = np.arange(1.0, 17.0).reshape(1, 4, 4, 1).repeat(3, axis=0)
    heatmaps, targets = x[..., 0], np.zeros(3, int)

    def removed(**options):
        logit = region_perturbation(
            channel_sums, x, options.pop("maps", heatmaps), targets, "random", 1, 16, **options
        ).logit
        return -np.diff(logit)  # pixels have values of their own

    found = removed()
    assert np.sort(found).tolist() == [list(range(1, 17))] * 3
    assert len({tuple(row) for row in found}) == 3
    np.testing.assert_array_equal(found, removed(seeds=[0, 1, 2], maps=-heatmaps))
    np.testing.assert_array_equal(found[[1, 1, 2]], removed(seeds=np.array([1, 1, 2])))


def test_inputs_stay_as_they_are():
    def predict(x):
        logits = channel_sums(x)
        x[:] = 99  # a network may do so
        return logits

    x = np.asfortranarray(IMAGE)
    found = region_perturbation(predict, x, RELEVANCE, [0], order="morf", pixels=1, steps=4)
    assert x.tolist() == IMAGE.tolist()
    assert found.logit.tolist() == [[9, 4, 1, 1, 0]]


def test_integer_inputs_take_a_broken_fill():
    found = region_perturbation(
        channel_sums, IMAGE.astype(np.uint8), RELEVANCE, [0], order="morf", pixels=1, steps=1, fill=0.5
    )
    assert found.logit.tolist() == [[9, 4.5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": "best"}, r"order='best': must be one of 'lerf', 'morf', 'random'"),
        ({"steps": 5}, r"5 steps of 1 pixels: .* at most the image's 4 pixels"),
        ({"pixels": 0}, "4 steps of 0 pixels: both must be at least 1"),
        ({"steps": 0}, "0 steps of 1 pixels: both must be at least 1"),
        ({"x": IMAGE[0]}, r"x has shape \(2, 2, 2\): it must be \(N, H, W, C\)"),
        ({"heatmaps": RELEVANCE[0]}, r"heatmaps have shape \(2, 2\), the images \(1, 2, 2\)"),
        ({"heatmaps": RELEVANCE * np.nan}, "heatmap has 4 values that are not finite, in sample 0"),
        ({"heatmaps": np.full((1, 2, 2), np.inf), "order": "random"}, "4 values that are not finite, in sample 0"),
        (
            {"targets": [0, 1]},
            r"targets have shape \(2,\) .*: they must be integers from 0, one for each of the 1",
        ),
        ({"targets": [0.0]}, "targets have .* type float64: they must be integers"),
        ({"targets": [-1]}, "targets .* must be integers from 0"),
        ({"targets": [2]}, "target 2: the network has 2 classes"),
        ({"order": "random", "seeds": [1, 2]}, r"seeds have shape \(2,\)"),
        ({"fill": [0, 0, 0]}, r"fill=\[0, 0, 0\]: must be a finite number, or one for each of the 2 channels"),
        ({"fill": np.nan}, "fill=nan: must be a finite number"),
        ({"predict": lambda x: x[0]}, r"predict returned shape \(2, 2, 2\): it must be \(1, classes\)"),
        ({"predict": lambda x: 1 / channel_sums(x)}, "2 logits that are not finite, at step 4"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_arguments(change, message):
    arguments = {
        "predict": channel_sums,
        "x": IMAGE,
        "heatmaps": RELEVANCE,
        "targets": [0],
        "pixels": 1,
        "steps": 4,
    }
    with pytest.raises(ValueError, match=message):
        region_perturbation(**{**arguments, **change})


def test_aopc():
    assert aopc(np.array([5.0, 4.0, 0.0])) == pytest.approx((0 + 1 + 5) / 3)
    assert isinstance(aopc([5.0, 4.0]), float)
    assert aopc(np.array([[3.0, 3.0], [1.0, 4.0]])).tolist() == [0, -1.5]
    assert aopc(np.ones((2, 3, 4))).shape == (2, 3)
