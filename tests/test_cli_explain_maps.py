"""`rap-keras explain` of networks whose output is a map: which class, at which places, and what is said of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import accepted, refused, run
from PIL import Image
from tensorflow import keras

import rap_keras

layers = keras.layers
SIZE = 8
# What each class of `coloured` looks at: its weights for red, green and blue.
WEIGHTS = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [-1, -1, -1]], np.float32)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a photo and the preprocessing: red on the left, green in a part of the right, else blue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[:, :5, 0] = pixels[2:5, 5:, 1] = 255
    pixels[..., 2] = 255 * ~pixels[..., :2].any(axis=-1)
    Image.fromarray(pixels).save("photo.png")
    (tmp_path / "unit_scaling.py").write_text("def unit(pixels):\n    return pixels / 255\n")
    return tmp_path


def photo() -> np.ndarray:
    return np.asarray(Image.open("photo.png")) / np.float32(255)


def coloured(end="softmax", weights=WEIGHTS, last=()) -> None:
    """A map of the photo's size; class 0 looks for red, 1 for green, 2 for blue, and 3 for none of them."""
    inputs = keras.Input((SIZE, SIZE, 3))
    y = layers.Conv2D(len(weights), 1, activation=end, use_bias=False)(inputs)
    for layer in last:
        y = layer(y)
    model = keras.Model(inputs, y)
    model.set_weights([weights.T[None, None]])
    model.save("map.h5")


EXPLAIN = ("explain", "photo.png", "--model", "map.h5", "--preprocessing", "unit_scaling:unit")


def explained(*arguments: object) -> str:
    return accepted(*EXPLAIN, *arguments)


def not_explained(*arguments: object) -> str:
    return refused(*EXPLAIN, *arguments)


def written(name: str = "photo") -> dict[str, np.ndarray]:
    with np.load(Path("rap-keras-output") / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def save_mask(mask: np.ndarray, name: str = "mask.png", **options) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(name, **options)


def test_the_class_that_is_the_highest_at_most_places():
    coloured()
    output = explained("--method", "rap", "--method", "gradient")
    assert re.search(r"photo\.png  rap  class 0  40 of 64 places  sum of logits 40  sum 40  \d+ ms", output)
    found = written()
    assert found["target"] == 0
    assert "probability" not in found
    red = photo()[..., 0] > 0
    np.testing.assert_array_equal(found["region"], red)
    np.testing.assert_allclose(found["rap"].sum(-1), red, rtol=1e-5)
    np.testing.assert_allclose(found["gradient"], red[..., None] * WEIGHTS[0], rtol=1e-5)


def test_a_target_by_name_where_it_is_the_highest_and_two_in_one_picture(here):
    coloured()
    (here / "classes.txt").write_text("red\ngreen\nblue\nnone\n")
    explained("--target", "green", "--classes", "classes.txt")
    with Image.open("rap-keras-output/photo.png") as picture:
        height = picture.size[1]
    green = photo()[..., 1] > 0
    np.testing.assert_array_equal(written()["region"], green)
    np.testing.assert_allclose(written()["rap"].sum(-1), green, rtol=1e-5)
    output = explained("--target", "green", "--target", "blue", "--classes", "classes.txt")
    assert re.search(r"rap\.contrastive  green  9 of 64 places  sum of logits 9 ", output)
    assert re.search(r"rap  blue  15 of 64 places  sum of logits 15 ", output)
    assert written("photo-2")["target"] == 2
    with Image.open("rap-keras-output/photo.png") as picture:
        assert picture.size[1] > 1.3 * height  # a row more


def test_a_region_is_a_picture_of_any_size():
    coloured()
    mask = np.zeros((SIZE, SIZE), bool)
    mask[1:4, 4:7] = True
    save_mask(np.kron(mask, np.ones((5, 3))))
    model = rap_keras.to_logits(keras.models.load_model("map.h5"))
    x = photo()[None]
    methods = ("rap", "rap.contrastive", "input_t_gradient", "lrp.alpha_1_beta_0", "grad_cam")
    output = explained(
        "--region", "mask.png", "--target", 1, *(f"--method={name}" for name in methods), "--layers", "*"
    )
    assert "class 1  9 of 64 places  sum of logits 4 " in output
    found = written()
    np.testing.assert_array_equal(found["region"], mask)
    for name in methods:
        analyzer = rap_keras.create_analyzer(name, model, neuron_selection_mode="index")
        expected = analyzer.analyze(x, rap_keras.region(model, 1, mask))[0]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["input_t_gradient"], x[0] * mask[..., None] * WEIGHTS[1], rtol=1e-6)
    assert Path("rap-keras-output/photo-layers.png").exists()
    explained("--region", "mask.png")  # the class with most places in the region
    assert written()["target"] == 1
    assert explained("--region", "mask.png", "--target", 3).count("class 3  9 of 64 places") == 1


@pytest.mark.parametrize("kind", ["RGBA", "P", "16 bits"])
def test_kinds_of_pictures_of_a_region(kind):
    coloured()
    mask = np.zeros((SIZE, SIZE), bool)
    mask[5:, :2] = True
    if kind == "RGBA":  # white, and what lies outside is transparent
        Image.fromarray(np.where(mask[..., None], 255, [255, 255, 255, 0]).astype(np.uint8)).save("mask.png")
    elif kind == "P":  # number 0 is white
        image = Image.fromarray((~mask).astype(np.uint8))
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.save("mask.png")
    else:
        Image.fromarray(mask.astype(np.uint16)).save("mask.png")
    explained("--region", "mask.png")
    np.testing.assert_array_equal(written()["region"], mask)


def test_a_region_takes_the_way_of_the_photo_through_a_crop():
    coloured()
    wide = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    wide[2:4, 9:12] = 255
    Image.fromarray(wide).save("photo.png")
    save_mask(np.kron(wide[..., 0] > 0, np.ones((3, 3))))  # in three times the photo's size
    explained("--crop", SIZE, "--region", "mask.png", "--target", 0)
    expected = np.zeros((SIZE, SIZE), bool)
    expected[2:4, 5:8] = True  # 4 columns of the photo are cut off
    np.testing.assert_array_equal(written()["region"], expected)
    np.testing.assert_allclose(written()["rap"].sum(-1), expected, rtol=1e-5)
    save_mask(np.eye(1, SIZE, dtype=bool).repeat(SIZE, axis=0))  # what is cut off
    result = run(*EXPLAIN, "--crop", SIZE, "--region", "mask.png")
    assert result.exit_code == 1
    assert "skipped: photo.png: no place of the network's map, 8 x 8, lies in the region" in result.output


def test_a_class_that_is_the_highest_nowhere_needs_a_region():
    coloured()
    result = run(*EXPLAIN, "--target", 3)
    assert result.exit_code == 1
    message = "skipped: photo.png: class 3 is the highest of all classes nowhere: give the region"
    assert message in result.output
    save_mask(np.ones((2, 2)))
    assert "class 3  64 of 64 places  sum of logits -64 " in explained("--target", 3, "--region", "mask.png")


@pytest.mark.parametrize("end", ["sigmoid", None])
def test_a_map_of_one_channel_has_two_classes(end):
    coloured(end, np.array([[1.0, -2.0, -3.0]], np.float32))
    output = explained("--target", 0, "--target", 1, "--method", "rap", "--method", "gradient")
    red = photo()[..., 0] > 0
    for target, places, sign in ((0, ~red, -1), (1, red, 1)):
        found = written(f"photo-{target}")
        np.testing.assert_array_equal(found["region"], places)
        expected = sign * places[..., None] * np.array([1, -2, -3])
        np.testing.assert_allclose(found["gradient"], expected, rtol=1e-5)
        np.testing.assert_allclose(found["rap"].sum((0, 1, 2)), found["logit"], rtol=1e-5)
    assert "class 0  24 of 64 places  sum of logits 63 " in output
    assert "class 1  40 of 64 places  sum of logits 40 " in explained()
    assert "there is no class 2: the network has classes 0 to 1" in not_explained("--target", 2)


def test_places_along_one_axis():
    coloured("softmax", WEIGHTS, [layers.Reshape((SIZE * SIZE, 4))])
    explained()
    red = photo()[..., 0] > 0
    np.testing.assert_array_equal(written()["region"], red.ravel())
    np.testing.assert_allclose(written()["rap"].sum(-1), red, rtol=1e-5)
    save_mask(np.ones((2, 2)))
    assert "(None, 64, 4), has no such places: leave --region out" in not_explained("--region", "mask.png")


def test_wrong_usage(here):
    coloured()
    save_mask(np.ones((2, 2)), "mask.jpg")
    save_mask(np.zeros((2, 2)), "black.png")
    (here / "text.png").write_text("no picture")
    assert "'--region': black.png: black everywhere: paint the region white" in not_explained(
        "--region", "black.png"
    )
    assert "mask.jpg: a file of format JPEG: save the region as PNG" in not_explained("--region", "mask.jpg")
    assert "'--region': text.png: not an image" in not_explained("--region", "text.png")
    assert "leave --against out" in not_explained("--target", 0, "--against", 1)
    save_mask(np.ones((2, 2)))
    explained("--region", "mask.png", "--target", 0, "--method", "rap.contrastive")  # the ways out
    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs))).save("map.h5")
    assert "this one has one score for each class: leave --region out" in not_explained("--region", "mask.png")
    explained()


@pytest.mark.plugin
def test_methods_of_innvestigate_alone_explain_no_region():
    coloured()
    message = not_explained("--method", "lrp.z_plus")
    assert "lrp.z_plus is only in iNNvestigate, which takes neither a region of a map nor" in message
    assert " lrp.alpha_1_beta_0, " in message
    explained("--method", "lrp.alpha_1_beta_0")


def test_patterns_and_check():
    for end, weights in (("softmax", WEIGHTS), ("sigmoid", WEIGHTS[:1])):
        coloured(end, weights)
        accepted("fit-patterns", "map.h5", "photo.png", "--preprocessing", "unit_scaling:unit")
        output = explained("--method", "pattern.attribution", "--patterns", "patterns.npz")
        assert "pattern.attribution  class " in output
        assert "relevance is conserved at every layer" in accepted("check", "map.h5")
