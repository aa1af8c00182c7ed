"""`rap_keras.explain`: one call from a model and a photo, or any other sample, to an explanation."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import numpy as np
import pytest
from host import NotAnalyzeableModelException, create_analyzer
from linear_networks import KERNEL, SIZE, linear, logits_of, photo, unit
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras import Explanation, Explanations
from rap_keras.explanation import questions
from rap_keras.shapes import CLASSES, TEST_SEED, generate

layers = keras.layers
pytestmark = pytest.mark.usefixtures("here")


def test_the_first_choice_by_rap():
    pixels = photo()
    logits = logits_of(pixels / 255)
    explanation = rap_keras.explain(linear(), pixels, preprocessing=unit)
    assert isinstance(explanation, Explanation)
    assert (explanation.method, explanation.target) == ("rap", logits.argmax())
    assert explanation.label == f"class {logits.argmax()}"
    assert explanation.logit == pytest.approx(logits.max(), rel=1e-5)
    assert explanation.probability == pytest.approx(np.exp(logits.max()) / np.exp(logits).sum(), rel=1e-4)
    assert explanation.sum == pytest.approx(logits.max(), rel=1e-4)
    assert explanation.lost == pytest.approx(0, abs=1e-3 * abs(logits.max()))
    expected = create_analyzer("rap", linear(end=None)).analyze(unit(pixels[None].astype(np.float32)))
    np.testing.assert_array_equal(explanation.relevance, expected[0])


def test_other_classes_by_other_methods():
    pixels = photo()
    logits = logits_of(pixels / 255)
    found = rap_keras.explain(
        linear(),
        pixels,
        ["gradient", "input_t_gradient", "rap.contrastive"],
        [2, "dog"],
        preprocessing=unit,
        classes=["cat", "dog", "bird"],
    )
    assert isinstance(found, Explanations)
    assert [(one.method, one.label) for one in found] == [
        (method, label)
        for label in ("bird", "dog")
        for method in ("gradient", "input_t_gradient", "rap.contrastive")
    ]
    np.testing.assert_allclose(found[0].relevance.ravel(), KERNEL[:, 2], rtol=1e-5)
    np.testing.assert_allclose(
        found[4].relevance.ravel(), KERNEL[:, 1] * (pixels / 255).ravel(), rtol=1e-4, atol=1e-6
    )
    assert found[0].score is None
    assert found[0].lost is None
    others = np.delete(logits, 1)
    share = np.exp(others - others.max()) / np.exp(others - others.max()).sum()
    assert found[5].score == pytest.approx(logits[1] - share @ others, rel=1e-4)  # the log-odds of dog
    assert found[5].sum == pytest.approx(found[5].score, rel=1e-3, abs=1e-3)


def test_the_printed_log_odds_of_close_logits():
    """With close logits, the mean of the others by their softmax is neither their maximum nor their plain mean."""
    logits = np.array([1.0, 1.2, 0.9, 1.1])
    model = keras.Sequential([keras.Input((1, 1)), keras.layers.Flatten(), keras.layers.Dense(4, use_bias=False)])
    model.set_weights([logits[None]])
    found = rap_keras.explain(model, np.ones((1, 1), np.float32), "rap.contrastive", [0, 1, 2, 3])
    shares = np.exp(logits) * (1 - np.eye(4))
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose([one.score for one in found], logits - shares @ logits, rtol=1e-5)
    assert found[0].score == pytest.approx(-0.0818, abs=1e-4)  # 1 - (1.2 * 0.3780 + 0.9 * 0.2800 + 1.1 * 0.3420)
    for one in found:  # without biases relevance sums to the score
        assert one.sum == pytest.approx(one.score, rel=1e-4)
        assert f"score {one.score:.6g}" in repr(one)


def test_the_score_of_a_map_is_the_sum_of_its_places():
    logits = np.array([[[1.0, 1.2, 0.9], [0.9, 1.0, 1.1]]], np.float32)
    (question,) = questions.of_places(logits, [0], np.ones((1, 2), bool), None, "map")
    each = []
    for z in logits[0].astype(float):
        weights = np.exp(z[1:])
        each.append(z[0] - weights @ z[1:] / weights.sum())
    assert question.score == pytest.approx(sum(each), rel=1e-6)
    assert question.logit == pytest.approx(1.9)


def test_a_class_against_another():
    pixels = photo()
    logits = logits_of(pixels / 255)
    found = rap_keras.explain(linear(), pixels, "rap.contrastive", 0, against=2, preprocessing=unit)
    assert (found.label, found.against) == ("class 0", "class 2")
    assert found.score == pytest.approx(logits[0] - logits[2], rel=1e-4)
    assert found.sum == pytest.approx(found.score, rel=1e-3)
    with pytest.raises(ValueError, match="against is for contrastive methods, but rap is not one"):
        rap_keras.explain(linear(), pixels, "rap", 0, against=2, preprocessing=unit)
    with pytest.raises(ValueError, match="class 2 is explained, and cannot be compared with itself"):
        rap_keras.explain(linear(), pixels, "rap.contrastive", 2, against=2, preprocessing=unit)


def test_one_sigmoid_unit_has_two_classes():
    pixels = photo()
    z = logits_of(pixels / 255)[0]
    for target, sign in ((0, -1), (1, 1)):
        found = rap_keras.explain(linear("sigmoid", 1), pixels, target=target, preprocessing=unit)
        assert found.logit == pytest.approx(sign * z, rel=1e-4)
        assert found.probability == pytest.approx(1 / (1 + np.exp(-sign * z)), abs=1e-6)
        assert found.sum == pytest.approx(sign * z, rel=1e-3)


def test_a_network_by_name_has_its_preprocessing_and_classes():
    samples = generate(1, TEST_SEED)
    found = rap_keras.explain("shapes-vgg", Image.fromarray(samples.images[0]))
    assert found.label == CLASSES[samples.labels[0]]
    assert found.sum == pytest.approx(found.logit, rel=1e-3)
    assert f"<RAP of '{found.label}': logit" in repr(found)
    for factor, told in ((0.5, "lost"), (2, "gained")):
        other = replace(found, relevances={name: factor * R for name, R in found.relevances.items()})
        assert re.search(rf"\({abs(other.lost):.2g} {told}\)>$", repr(other))


def test_several_inputs():
    series, facts = keras.Input((6, 2), name="series"), keras.Input((5,), name="facts")
    joined = layers.Concatenate()([layers.Flatten()(series), facts])
    model = keras.Model([series, facts], layers.Dense(2, use_bias=False)(joined))
    random = np.random.default_rng(0)
    a, b = random.normal(size=(6, 2)), random.normal(size=5)
    found = rap_keras.explain(model, [a, b], "input_t_gradient", 1)
    (kernel,) = model.get_weights()
    expected = np.concatenate([a.ravel(), b]) * kernel[:, 1]
    np.testing.assert_allclose(found.relevance["series"].ravel(), expected[:12], rtol=1e-4)
    np.testing.assert_allclose(found.relevance["facts"], expected[12:], rtol=1e-4)
    by_name = rap_keras.explain(model, {"facts": b, "series": a}, "input_t_gradient", 1)
    np.testing.assert_array_equal(by_name.relevance["facts"], found.relevance["facts"])
    with pytest.raises(ValueError, match=r"the sample has 2 arrays, 'series', 'x', and the model takes 'series'"):
        rap_keras.explain(model, {"series": a, "x": b})
    with pytest.raises(
        ValueError, match=r"the sample has 1 array, and the model takes 'series' \(6, 2\) and 'facts'"
    ):
        rap_keras.explain(model, a)
    with pytest.raises(AttributeError, match=r"it holds 2, so take one, such as explanations\[0\]\.relevance"):
        _ = rap_keras.explain(model, [a, b], "input_t_gradient", [0, 1]).relevance
    with pytest.raises(ValueError, match="1 array, and the model takes 2: series and facts"):
        rap_keras.explain(model, [a])
    found.save("both.png")


def test_a_region_of_a_map():
    inputs = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 1, use_bias=False)(inputs))
    pixels, mask = photo(), np.zeros((SIZE, SIZE), bool)
    mask[2:4, 3:7] = True
    found = rap_keras.explain(model, pixels, target=1, region=mask, preprocessing=unit)
    z = (pixels / 255) @ model.get_weights()[0][0, 0, :, 1]
    np.testing.assert_array_equal(found.places, mask)
    assert found.logit == pytest.approx(z[mask].sum(), rel=1e-4)
    assert (found.relevance[~mask] == 0).all()
    assert found.lost == pytest.approx(0, abs=1e-3 * float(np.abs(found.relevance).sum()))
    contrastive = rap_keras.explain(model, pixels, "rap.contrastive", 1, region=mask, preprocessing=unit)
    difference = (pixels / 255) @ (model.get_weights()[0][0, 0] @ [-1, 1])
    assert contrastive.score == pytest.approx(difference[mask].sum(), rel=1e-4)
    with pytest.raises(ValueError, match="region is False everywhere"):
        rap_keras.explain(model, pixels, region=mask & False, preprocessing=unit)
    with pytest.raises(ValueError, match="region has data type float64"):
        rap_keras.explain(model, pixels, region=mask * 1.0, preprocessing=unit)
    with pytest.raises(ValueError, match="region is for networks whose output is a map"):
        rap_keras.explain(linear(), pixels, region=mask, preprocessing=unit)


def test_a_class_that_is_the_highest_at_no_step():
    """What the message asks for works, also for a network that gives classes for each of several steps."""
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    kernel = np.array([[1.0, -1, 0.1], [0.5, 0.5, 0.2]], np.float32)
    model = keras.Sequential([keras.Input((5, 2)), layers.Dense(3, activation="softmax")])
    model.set_weights([kernel, np.array([0, 0, -9], np.float32)])
    with pytest.raises(
        ValueError, match=r"class 2 is the highest .* nowhere: .*region=mask, booleans of shape \(5,\)$"
    ):
        rap_keras.explain(model, x, target=2)
    steps, z = np.arange(5) % 2 == 0, x @ kernel + [0, 0, -9]
    found = rap_keras.explain(model, x, "gradient", target=1, region=steps)
    assert found.logit == pytest.approx(z[steps, 1].sum(), rel=1e-5)
    np.testing.assert_allclose(found.relevance, steps[:, None] * kernel[:, 1], rtol=1e-5)
    found = rap_keras.explain(model, x, "gradient", target=2, region=steps)
    assert found.logit == pytest.approx(z[steps, 2].sum(), rel=1e-5)
    with pytest.raises(ValueError, match=r"shape \(5, 1\): give booleans, with 1 axes, such as \(5,\)"):
        rap_keras.explain(model, x, region=steps[:, None])


def test_folders_are_made():
    rap_keras.explain(linear(), unit(photo())).save("new/folder/figure.png")
    assert Image.open("new/folder/figure.png").size[0] > 100


def test_a_name_is_no_model():
    creators = (rap_keras.create_analyzer, rap_keras.methods.create)
    for call in (rap_keras.to_logits, *(functools.partial(create, "rap") for create in creators)):
        with pytest.raises(TypeError, match=r"load it first, with rap_keras\.models\.load_model\('net\.h5'\)"):
            call("net.h5")


def test_the_score_is_told_where_it_is_not_the_logit():
    explanation = rap_keras.explain(linear(), unit(photo()), "rap.contrastive")
    *others, own = np.sort(logits_of(unit(photo())))
    score = own - np.average(others, weights=np.exp(others))
    assert f"score {explanation.score:.6g}, relevance sums to" in repr(explanation)
    assert explanation.score == pytest.approx(score, rel=1e-5)
    assert "score" not in repr(rap_keras.explain(linear(), unit(photo())))


def test_what_is_refused():
    pixels = photo()
    x = pixels / 255
    with pytest.raises(ValueError, match=r"photo\.png needs preprocessing"):
        rap_keras.explain(linear(), "photo.png")
    with pytest.raises(FileNotFoundError):
        rap_keras.explain(linear(), "photo.png", preprocessing=unit)
    with pytest.raises(
        TypeError, match="the photo has data type float32, and preprocessing takes photos of uint8"
    ):
        rap_keras.explain(linear(), pixels.astype(np.float32), preprocessing="caffe")
    with pytest.raises(
        ValueError, match=r"the photo has shape \(8, 8, 4\).*: leave its alpha out, photo\[\.\.\., :3\]"
    ):
        rap_keras.explain(linear(), np.dstack([pixels, pixels[..., :1]]), preprocessing="caffe")
    with pytest.raises(ValueError, match=r"channels last, photo\.transpose\(1, 2, 0\)"):
        rap_keras.explain(linear(), pixels.transpose(2, 0, 1), preprocessing="caffe")
    with pytest.raises(ValueError, match="the photo has more than 8 bits per channel: give the path"):
        rap_keras.explain(linear(), Image.new("I", (SIZE, SIZE)), preprocessing="caffe")
    with pytest.raises(
        ValueError, match="the sample: the array is uint8, like a photo, and its preprocessing is not known"
    ):
        rap_keras.explain(linear(), pixels)
    with pytest.raises(ValueError, match="a list of 2 photos, and one is explained at a time"):
        rap_keras.explain(linear(), ["a.png", "b.png"], preprocessing="caffe")
    with pytest.raises(ValueError, match="the sample is a batch of 2, and one is explained at a time"):
        rap_keras.explain(linear(), np.stack([x, x]))
    with pytest.raises(ValueError, match=r"the sample: shape \(8, 9, 3\)"):
        rap_keras.explain(linear(), unit(photo(shape=(8, 9, 3))))
    with pytest.raises(ValueError, match="there is no class 3"):
        rap_keras.explain(linear(), x, target=3)
    with pytest.raises(ValueError, match="there is no class -1: the network has classes 0 to 2"):
        rap_keras.explain(linear(), x, target=-1)
    with pytest.raises(ValueError, match=r"1\.0 as the class: give its number"):
        rap_keras.explain(linear(), x, target=1.0)
    with pytest.raises(ValueError, match="'cat' is no number, and the classes have no names"):
        rap_keras.explain(linear(), x, target="cat")
    with pytest.raises(ValueError, match="True as the class: give its number, from 0 to 2, or its name"):
        rap_keras.explain(linear(), x, target=True)
    with pytest.raises(ValueError, match="2 class names are given, and the network has 3 classes"):
        rap_keras.explain(linear(), x, classes=["cat", "dog"])
    with pytest.raises(ValueError, match="an empty list of methods or targets"):
        rap_keras.explain(linear(), x, [])
    with pytest.raises(ValueError, match=r"unknown method 'rapp', did you mean rap\?"):
        rap_keras.explain(linear(), x, "rapp")
    with pytest.raises(ValueError, match=r"unknown method 'RAP', did you mean rap\? There"):
        rap_keras.explain(linear(), x, "RAP")
    with pytest.raises(TypeError, match=r"figures have no option cmap: there are scale, absolute"):
        rap_keras.explain(linear(), x).show(cmap="jet")
    with pytest.raises(TypeError, match="width is 'wide': it must be a number"):
        rap_keras.explain(linear(), x).save("a.png", width="wide")
    with pytest.raises(TypeError, match=r"An Explanation has them as \.relevance"):
        rap_keras.show(rap_keras.explain(linear(), x))
    with pytest.raises(TypeError, match=r"photo has dtype <U9.* opened by rap_keras\.images\.load_photo\(path\)"):
        rap_keras.show(x, "photo.png")
    with pytest.raises(ValueError, match="the sample has 1 array, 'wrong', and the model takes '"):
        rap_keras.explain(linear(), {"wrong": x})
    with pytest.raises(ValueError, match="'max' as the class: give target=None"):
        rap_keras.explain(linear(), x, target="max")
    with pytest.raises(ValueError, match="'2' is the number of class '0', and the name of class 0"):
        rap_keras.explain(linear(), x, target="2", classes=["2", "1", "0"])
    assert rap_keras.explain(linear(), x, target=2, classes=["2", "1", "0"]).label == "0"
    with pytest.raises(ValueError, match="unknown class 'purple': there are red, green and blue"):
        rap_keras.explain(linear(), x, target="purple", classes=["red", "green", "blue"])
    np.save("x.npy", pixels / 255)
    with pytest.raises(ValueError, match="preprocessing is for photos"):
        rap_keras.explain(linear(), "x.npy", preprocessing="caffe")
    inputs = keras.Input((SIZE, SIZE, 3))
    odd = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.GaussianNoise(0.1)(inputs))))
    rap_keras.explain(odd, x)  # noise is no part of inference
    with pytest.raises(NotAnalyzeableModelException):
        rap_keras.explain(two_outputs(), x)
    assert rap_keras.explain(two_outputs(), x, output=1).target in range(2)


def two_outputs() -> keras.Model:
    inputs = keras.Input((SIZE, SIZE, 3))
    flat = layers.Flatten()(inputs)
    return keras.Model(inputs, [layers.Dense(3)(flat), layers.Dense(2)(flat)])


def test_the_model_stays_as_it_is():
    model = linear()
    before = [weight.copy() for weight in model.get_weights()]
    x = (photo() / 255).astype(np.float32)[None]
    probabilities = model.predict_on_batch(x)
    rap_keras.explain(model, x, ["rap", "guided_backprop", "lrp.alpha_1_beta_0"])
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
    np.testing.assert_array_equal(model.predict_on_batch(x), probabilities)


def test_a_logit_that_is_not_finite_is_no_explanation():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    kernel = np.array([[3e38, 0]] * 4, np.float32)  # its gradient is finite, but the sum of four is not
    model.set_weights([kernel, np.zeros(2, np.float32)])
    assert rap_keras.explain(model, np.full(4, 0.1, np.float32), "gradient", 0).is_finite()
    assert not rap_keras.explain(model, np.ones(4, np.float32), "gradient", 0).is_finite()


def test_a_one_hot_target_is_no_list_of_classes():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    one_hot, x = np.array([0, 1, 0]), np.ones(4, np.float32)
    with pytest.raises(ValueError, match=r"the array \[0, 1, 0\] names a class twice.*argmax\(\)"):
        rap_keras.explain(model, x, target=one_hot)
    assert rap_keras.explain(model, x, target=one_hot.argmax()).target == 1
    assert [found.target for found in rap_keras.explain(model, x, target=np.array([2, 0]))] == [2, 0]
