"""The two networks of shapes: their layers, their shipped weights, their training."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
from tensorflow import keras

from rap_keras.shapes import (
    CLASSES,
    NETWORKS,
    TEST_SEED,
    TRAINING_SEED,
    VALIDATION_SEED,
    Samples,
    accuracy,
    build_network,
    generate,
    load_network,
    preprocess,
    sample,
    train,
    training,
    weights_path,
)


@pytest.fixture(scope="module")
def unseen() -> Samples:
    return generate(1000, TEST_SEED)


def kinds(network: keras.Model) -> set[str]:
    return {type(layer).__name__ for layer in network.layers}


def test_the_vgg_is_of_plain_layers():
    network = build_network("vgg")
    assert kinds(network) == {"InputLayer", "Conv2D", "MaxPooling2D", "Flatten", "Dense"}
    convolutions = [x for x in network.layers if isinstance(x, keras.layers.Conv2D)]
    assert len(convolutions) == 6
    assert {(x.kernel_size, x.activation.__name__) for x in convolutions} == {((3, 3), "relu")}
    assert network.get_layer("block4_pool").output.shape[1:3] == (6, 6)


def test_the_resnet_is_residual():
    network = build_network("resnet")
    assert kinds(network) >= {"BatchNormalization", "Add", "GlobalAveragePooling2D"}
    adds = [x for x in network.layers if isinstance(x, keras.layers.Add)]
    assert len(adds) == 4
    assert network.get_layer("conv3_block3_out").output.shape[1:3] == (12, 12)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_is_a_probability_per_class(name):
    network = load_network(name)
    assert network.layers[-1].activation is keras.activations.softmax
    scores = network.predict(preprocess(generate(3, seed=0).images), verbose=0)
    assert scores.shape == (3, len(CLASSES))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_shipped_weights_tell_97_of_100_unseen_images(name, unseen):
    network = load_network(name)
    assert accuracy(network, unseen) >= 0.97
    right = network.predict(preprocess(unseen.images), verbose=0).argmax(axis=1) == unseen.labels
    for label in range(len(CLASSES)):  # no class is left behind
        assert right[unseen.labels == label].mean() >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_shipped_networks_see_both_of_two_objects(name):
    pairs = generate(300, TEST_SEED, second_object=True)
    scores = load_network(name).predict(preprocess(pairs.images), verbose=0)
    best_two = np.sort(np.argsort(scores, axis=1)[:, -2:], axis=1)
    present = np.sort(np.stack([pairs.labels, pairs.second_labels], axis=1), axis=1)
    assert (best_two == present).all(axis=1).mean() >= 0.9


def test_the_shipped_weights_are_small_and_hold_numbers_only():
    assert sum(weights_path(name).stat().st_size for name in NETWORKS) < 2.5e6

    def check(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            assert item.dtype == np.float32

    for name in NETWORKS:
        with h5py.File(weights_path(name)) as file:
            file.visititems(check)


def test_an_unknown_network_is_refused():
    for function in (build_network, load_network):
        with pytest.raises(ValueError, match=r"'alexnet'.*vgg, resnet"):
            function("alexnet")


def test_no_image_is_in_two_series():
    assert len({TRAINING_SEED, VALIDATION_SEED, TEST_SEED}) == 3


@pytest.mark.slow
def test_training_writes_the_weights_it_reports_on(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_VALIDATION_IMAGES", 50)
    output = tmp_path / "new" / "weights.h5"
    reported = train("resnet", output, epochs=2, images=64, progress=False)
    trained = build_network("resnet")
    untrained = trained.get_weights()
    trained.load_weights(str(output))
    moved = [np.abs(a - b).max() > 0 for a, b in zip(untrained, trained.get_weights())]
    assert all(moved)
    assert accuracy(trained, generate(50, VALIDATION_SEED)) == reported


@pytest.mark.slow
def test_training_lowers_the_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_VALIDATION_IMAGES", 10)
    pictures, targets = training._training_set(64, progress=False)

    def loss(epochs: int) -> float:
        train("vgg", tmp_path / "weights.h5", epochs=epochs, images=64, progress=False)
        network = build_network("vgg")
        network.load_weights(str(tmp_path / "weights.h5"))
        scores = network.predict(preprocess(pictures), verbose=0)
        return float(-np.mean(np.sum(targets * np.log(scores), axis=1)))

    assert loss(12) < loss(1) - 0.1


def test_the_training_set_has_single_objects_and_pairs():
    pictures, targets = training._training_set(30, progress=False)
    np.testing.assert_array_equal(pictures[7], sample(7, TRAINING_SEED).image)
    np.testing.assert_array_equal(targets[7], np.eye(10)[7])
    pair = sample(23, TRAINING_SEED, second_object=True)
    np.testing.assert_array_equal(pictures[23], pair.image)
    assert targets[23, pair.label] == targets[23, pair.second_label] == 0.5
    assert [np.count_nonzero(row) for row in targets] == [1] * 20 + [2] * 10


def test_every_image_comes_once_per_pass_with_its_own_target():
    pictures = np.zeros((64, 96, 96, 3), dtype=np.uint8)
    pictures[:] = np.arange(64)[:, None, None, None]
    targets = np.arange(64, dtype=np.float32)[:, None]
    batches = training._batches(pictures, targets)
    seen = []
    for _ in range(64 // training._BATCH):
        images, wanted = next(batches)
        number = images[:, 0, 0, 0] * 127.5 + 127.5
        np.testing.assert_allclose(number, wanted[:, 0], atol=1e-4)
        seen += list(wanted[:, 0])
    assert seen != sorted(seen)
    assert sorted(seen) == list(range(64))


def test_batches_are_turned_and_mirrored():
    marked = np.zeros((16, 96, 96, 3), dtype=np.uint8)
    marked[:, 0, 1] = 255
    batches = training._batches(marked, np.zeros((16, 10)))
    places = {tuple(np.argwhere(next(batches)[0][0, :, :, 0] > 0)[0]) for _ in range(60)}
    assert places == {(0, 1), (1, 0), (0, 94), (94, 0), (95, 1), (1, 95), (95, 94), (94, 95)}


def test_training_refuses_what_cannot_work(tmp_path):
    output = tmp_path / "weights.h5"
    with pytest.raises(ValueError, match=r"end in \.h5"):
        train("vgg", tmp_path / "weights.keras")
    with pytest.raises(ValueError, match="'alexnet'"):
        train("alexnet", output)
    with pytest.raises(ValueError, match="0 epochs"):
        train("vgg", output, epochs=0)
    with pytest.raises(ValueError, match="of 3 images"):
        train("vgg", output, images=3)


EAGER = """
import sys
from pathlib import Path
import tensorflow as tf
from rap_keras.shapes import load_network, training
if not tf.executing_eagerly():
    sys.exit("importing switched eager execution off")
training._VALIDATION_IMAGES = 10
training.train("resnet", Path(sys.argv[1]), epochs=1, images=32, progress=False)
"""


@pytest.mark.slow
def test_importing_leaves_eager_execution_on_and_training_works_with_it(tmp_path):
    output = tmp_path / "weights.h5"
    done = subprocess.run([sys.executable, "-c", EAGER, str(output)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert output.is_file()
