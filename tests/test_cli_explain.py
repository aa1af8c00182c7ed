from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from host import PLUGIN
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras.cli.commands import main
from rap_keras.cli.results import free_name
from rap_keras.hosts import methods

layers = keras.layers
SIZE = (8, 10)
COLOUR = (0, 160, 80)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own for each test, which is also the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def photo(here) -> Path:
    Image.new("RGB", (20, 16), COLOUR).save(here / "photo.png")
    return here / "photo.png"


@pytest.fixture
def network(here) -> keras.Model:
    """A linear network with a softmax, saved as linear.h5."""
    model = keras.Sequential([keras.Input((*SIZE, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    kernel = np.random.default_rng(0).normal(-0.05, 0.1, (240, 3))
    model.set_weights([kernel, np.array([0.5, 0.25, 0.125])])
    model.save(here / "linear.h5")
    return model


def explain(*arguments: object, model: str = "linear.h5", preprocessing: str = "tf") -> Result:
    given = ["explain", *map(str, arguments), "--model", model, "--preprocessing", preprocessing]
    result = CliRunner().invoke(main, given)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def written(name: str = "photo") -> dict[str, np.ndarray]:
    with np.load(Path("rap-keras-output") / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def logits_of(network: keras.Model, colour: object = COLOUR) -> np.ndarray:
    kernel, bias = network.get_weights()
    x = np.broadcast_to(np.array(colour) / 127.5 - 1, (*SIZE, 3))
    return x.ravel() @ kernel + bias


def printed(output: str, start: str) -> tuple[float, float]:
    """The logit and the sum of relevance in the line that ends a path with `start`."""
    number = r"(-?[\d.e+-]+)"
    pattern = rf"{re.escape(start)}  (?:probability [\d.e-]+  )?logit {number}  sum {number}  \d+ ms$"
    (found,) = re.findall(pattern, output, re.MULTILINE)
    return float(found[0]), float(found[1])


def test_numbers_of_a_photo(photo, network):
    result = explain(photo, "--method", "gradient, rap", "--method", "gradient")
    assert result.exit_code == 0, result.output
    logits = logits_of(network)
    target = logits.argmax()
    data = written()
    assert set(data) == {"gradient", "rap", "input_size", "target", "logit", "probability", "methods"}
    np.testing.assert_array_equal(data["input_size"], SIZE)
    np.testing.assert_array_equal(data["methods"], ["gradient", "rap"])
    assert data["target"] == target
    np.testing.assert_allclose(data["logit"], logits[target], rtol=1e-4)
    probability = np.exp(logits[target]) / np.exp(logits).sum()
    np.testing.assert_allclose(data["probability"], probability, rtol=1e-4)
    assert f"class {target}  probability {probability:.4g}" in result.stdout
    kernel = network.get_weights()[0][:, target].reshape(*SIZE, 3)
    np.testing.assert_allclose(data["gradient"], kernel, rtol=1e-5)
    assert data["rap"].dtype == np.float32
    np.testing.assert_allclose(data["rap"].sum(), logits[target], rtol=1e-3)
    for method in ("gradient", "rap"):
        logit, total = printed(result.stdout, f"photo.png  {method}  class {target}")
        np.testing.assert_allclose(logit, logits[target], rtol=1e-4)
        np.testing.assert_allclose(total, data[method].sum(dtype=float), rtol=1e-4)
    assert result.output.count("building gradient") == 1
    assert "1 explained, 0 skipped; files in rap-keras-output" in result.output


def test_picture_of_a_photo(photo, network):
    explain(photo, "--method", "gradient", "--output", "one")
    explain(photo, "--method", "gradient", "--method", "rap", "--output", "two")
    one, two = (np.array(Image.open(Path(name) / "photo.png")) for name in ("one", "two"))
    assert one.shape[1] < two.shape[1]
    own = (one[..., :3] == COLOUR).all(axis=-1)
    rows, columns = np.nonzero(own)
    assert own.sum() > 0.9 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    np.testing.assert_allclose((np.ptp(rows) + 1) / (np.ptp(columns) + 1), 0.8, atol=0.05)


@pytest.mark.parametrize(("target", "number"), [("0", 0), ("2", 2), ("dog", 1), ("Tinca tinca", 2), ("TENCH", 2)])
def test_target(here, photo, network, target, number):
    (here / "classes.txt").write_text("cat\ndog\nn01440764 tench, Tinca tinca\n")
    result = explain(photo, "--method", "gradient", "--target", target, "--classes", "classes.txt")
    assert result.exit_code == 0, result.output
    assert f"gradient  {['cat', 'dog', 'tench, Tinca tinca'][number]}  probability 0." in result.output
    data = written()
    assert data["target"] == number
    np.testing.assert_allclose(data["logit"], logits_of(network)[number], rtol=1e-4)
    kernel = network.get_weights()[0][:, number].reshape(*SIZE, 3)
    np.testing.assert_allclose(data["gradient"], kernel, rtol=1e-5)


def test_kinds_of_images(here, network):
    folder = here / "photos"
    folder.mkdir()
    images = {
        "deep": Image.fromarray(np.full((4, 4), 200 * 257, np.uint16)),
        "grey": Image.new("L", (4, 4), 90),
        "transparent": Image.new("RGBA", (4, 4), (255, 0, 0, 51)),
        "print": Image.new("CMYK", (4, 4), (255, 0, 0, 0)),
        "pixel": Image.new("RGB", (1, 1), (1, 2, 3)),
    }
    for name, image in images.items():
        image.save(folder / f"{name}.tif")
    with pytest.warns(
        UserWarning, match=r"transparent\.tif has transparent pixels, which the network sees in white"
    ):
        result = explain(folder, "--method", "input_t_gradient", "--target", 1)
    assert result.exit_code == 0, result.output
    assert "5 explained, 0 skipped" in result.output
    kernel = network.get_weights()[0][:, 1].reshape(*SIZE, 3)
    colours = {
        "deep": (200, 200, 200),
        "grey": (90, 90, 90),
        "transparent": (255, 204, 204),
        "print": (0, 255, 255),
        "pixel": (1, 2, 3),
    }
    for name, colour in colours.items():
        seen = (written(name)["input_t_gradient"] / kernel + 1) * 127.5
        np.testing.assert_allclose(seen, np.broadcast_to(colour, seen.shape), atol=0.05)


def test_broken_image_is_named_skipped_and_counted(here, photo, network):
    (here / "broken.png").write_bytes(photo.read_bytes()[:60])
    (here / "text.jpg").write_text("no image")
    result = explain("broken.png", "text.jpg", photo, "--method", "gradient")
    assert result.exit_code == 1
    assert "skipped: broken.png: damaged image" in result.output
    assert "skipped: text.jpg: not an image" in result.output
    assert "1 explained, 2 skipped" in result.output
    assert written()["target"] == logits_of(network).argmax()


def test_heatmap_that_is_not_finite(here, photo, network, monkeypatch):
    create = methods.create

    def broken(name, *given, **options):
        analyzer = create(name, *given, **options)
        if name == "input":
            analyzer.analyze = lambda X: np.full(X.shape, np.nan)
        return analyzer

    monkeypatch.setattr(methods, "create", broken)
    result = explain(photo, "--method", "input", "--method", "gradient")
    assert result.exit_code == 1
    assert f"the heatmap of input for {photo} is not finite" in result.output
    assert "1 explained, 0 skipped, not finite heatmaps (shown empty): 1" in result.output
    assert np.isnan(written()["input"]).all()
    assert np.isfinite(written()["gradient"]).all()
    assert Path("rap-keras-output/photo.png").is_file()


def test_photos_of_the_same_name(here, network):
    for number, folder in enumerate(("a", "b")):
        (here / folder).mkdir()
        Image.new("RGB", (4, 4), (number, 0, 0)).save(here / folder / "same.png")
    said = explain("a", "b", "a/same.png", "--method", "input_t_gradient", "--target", 0).output
    assert "b/same.png is written as same-2: there is another same" in said
    assert "written as same-3" not in said
    first, second = written("same"), written("same-2")
    kernel = network.get_weights()[0][:, 0].reshape(*SIZE, 3)
    difference = ((second["input_t_gradient"] - first["input_t_gradient"]) / kernel)[..., 0]
    np.testing.assert_allclose(difference, 1 / 127.5, rtol=1e-2)
    assert not Path("rap-keras-output/same-3.npz").exists()


def test_free_names_do_not_meet_each_other():
    taken: set[str] = set()
    names = [free_name(stem, taken) for stem in ("a", "A", "a-2", "a-layers", "b")]
    assert names == ["a", "A-2", "a-2-2", "a-layers-2", "b"]


def test_layers(photo, network):
    assert explain(photo, "--layers", "*").exit_code == 0
    assert Image.open("rap-keras-output/photo-layers.png").size[0] > 100
    result = explain(photo, "--layers", "*", "--method", "grad_cam")
    assert result.exit_code == 2
    assert "--layers: grad_cam gives no relevance at layers here" in result.output
    result = explain(photo, "--layers", "conv*")
    assert result.exit_code == 2
    assert "no layer matches 'conv*': there are flatten, dense" in result.output


@pytest.mark.parametrize("given", [["lrp.gamma"], ["gradient", "lrp.gamma"], ["lrp.gamma", "rap"]])
def test_the_layers_are_those_of_rap_or_of_the_first_method(photo, network, given, monkeypatch):
    """In the plugin iNNvestigate's own gradient has no relevance at layers."""
    from rap_keras import visualization

    drawn, draw = [], visualization.layer_strip
    monkeypatch.setattr(visualization, "layer_strip", lambda *args: drawn.append(args[0]) or draw(*args))
    result = explain(photo, "--layers", "den*", "--method", ",".join(given))
    shown = "rap" if "rap" in given else given[0]
    if shown == "gradient" and PLUGIN:
        assert "--layers: gradient gives no relevance at layers here" in result.output
        return
    assert result.exit_code == 0, result.output
    logits = rap_keras.to_logits(network)
    x = np.broadcast_to(np.float32(COLOUR) / 127.5 - 1, (1, *SIZE, 3))
    right = rap_keras.create_analyzer(shown, logits).analyze_layers(x)
    (of_layers,) = drawn
    assert list(of_layers) == ["dense"]
    np.testing.assert_allclose(of_layers["dense"], right["dense"][0], rtol=1e-4, atol=1e-6)


def test_nested_model(here, photo):
    base = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(2, 3)], name="base")
    head = keras.Sequential([keras.Input((4, 4, 2)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model = keras.Sequential([keras.Input((6, 6, 3)), base, head])
    model.save(here / "nested.h5")
    result = explain(photo, model="nested.h5")
    assert result.exit_code == 0, result.output
    kernel, bias, dense, shift = model.get_weights()
    colour = np.array(COLOUR) / 127.5 - 1
    maps = np.broadcast_to(kernel.sum(axis=(0, 1)).T @ colour + bias, (4, 4, 2))
    logit = (maps.ravel() @ dense + shift).max()
    np.testing.assert_allclose(written()["logit"], logit, rtol=1e-4)
    np.testing.assert_allclose(written()["rap"].sum(), logit, rtol=1e-3)
    result = explain(photo, "--method", "lrp.alpha_1_beta_0", model="nested.h5")
    if PLUGIN:
        assert result.exit_code == 2
        assert "cannot look into 'base'" in result.output
    else:
        assert result.exit_code == 0, result.output
        assert np.abs(written()["lrp.alpha_1_beta_0"]).max() > 0


def test_geometry(here, network):
    maps = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 1), layers.GlobalAveragePooling2D()])
    maps.save(here / "any.h5")
    photo = np.zeros((10, 30, 3), np.uint8)
    photo[:, 10:20] = 255
    Image.fromarray(photo).save("wide.png")
    method = ("--method", "input_t_gradient", "--target", 0)
    assert explain("wide.png", *method, model="any.h5").exit_code == 0
    assert tuple(written("wide")["input_size"]) == (10, 30)
    own_size = rap_keras.explain(maps, "wide.png", "input_t_gradient", 0, preprocessing="tf")
    np.testing.assert_allclose(written("wide")["input_t_gradient"], own_size.relevance, rtol=1e-5)
    assert explain("wide.png", "--resize", 6, *method, model="any.h5").exit_code == 0
    assert tuple(written("wide")["input_size"]) == (6, 6)
    assert explain("wide.png", "--crop", 5, "--resize", 10, *method, model="any.h5").exit_code == 0
    cut = written("wide")["input_t_gradient"]  # from the white centre, where x is 1
    kernel = maps.get_weights()[0][0, 0, :, 0]
    np.testing.assert_allclose(cut, np.broadcast_to(kernel / 25, (5, 5, 3)), rtol=1e-4)
    assert explain("wide.png", "--crop", 10, *method, model="any.h5").exit_code == 0
    np.testing.assert_allclose(
        written("wide")["input_t_gradient"], np.broadcast_to(kernel / 100, (10, 10, 3)), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "model", "message"),
    [
        (["--resize", 9], "linear.h5", "the network takes 8x10"),
        (["--crop", 8], "linear.h5", "the network takes 8x10"),
        (["--crop", 9, "--resize", 8], "any.h5", "must be at least --crop 9"),
        ([], "gone.h5", "gone.h5: no such model file"),
        ([], "vgg61", "unknown network 'vgg61': did you mean"),
        ([], "photo.png", "photo.png: not a Keras model"),
        ([], "rgba.h5", "it must take RGB photos"),
        ([], "lambda.h5", "Lambda layer 'twice'"),
        (["--method", "rapp"], "gone.h5", "unknown method 'rapp', did you mean rap"),
        (
            ["--method", "lrp.alpha_beta"],
            "linear.h5",
            "'--method': lrp.alpha_beta needs options of its own, so it is only for analyzers in Python, "
            "for example: "
            "rap_keras.create_analyzer('lrp.alpha_beta', model, alpha=2)",
        ),
        (["--target", "3"], "linear.h5", "there is no class 3: the network has classes 0 to 2"),
        (
            ["--target", "dog"],
            "linear.h5",
            "the names of all classes, in Python by classes=, in the command by --classes FILE",
        ),
        (["--target", "dogg", "--classes", "names.txt"], "linear.h5", "did you mean 'dog'"),
        (["--target", "cat", "--classes", "names.txt"], "linear.h5", "give one of [0, 2]"),
        (["--classes", "photo.png"], "linear.h5", "photo.png: not a text file"),
        (["--classes", "two.txt"], "linear.h5", "two.txt has 2 lines, but the network has 3"),
        (["--output", "photo.png"], "linear.h5", "Directory 'photo.png' is a file"),
        (["--output", "photo.png/deeper"], "linear.h5", "Not a directory"),
        (["gone.png"], "linear.h5", "Path 'gone.png' does not exist"),
        (["empty"], "linear.h5", "empty: no image in this folder"),
    ],
)
def test_wrong_usage(here, photo, network, arguments, model, message):
    (here / "names.txt").write_text("cat\ndog\ncat\n")
    (here / "two.txt").write_text("cat\ndog\n")
    (here / "empty").mkdir()
    for name, shape, layer in (
        ("any.h5", (None, None, 3), layers.GlobalAveragePooling2D()),
        ("rgba.h5", (8, 8, 4), layers.Flatten()),
        ("lambda.h5", (8, 8, 3), layers.Lambda(lambda x: 2 * x, name="twice")),
    ):
        if name == model:
            keras.Sequential([keras.Input(shape), layer]).save(here / name)
    result = explain(photo, *arguments, model=model)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(here.glob("rap-keras-output/*"))


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        ("cafe", "unknown preprocessing 'cafe'"),
        ("gone:f", "No module named 'gone'"),
        ("numpy:ravel", "changed the shape (1, 8, 10, 3) to (240,)"),
    ],
)
def test_wrong_preprocessing(photo, network, preprocessing, message):
    result = explain(photo, preprocessing=preprocessing)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_photo_that_the_preprocessing_cannot_take(here, photo, network):
    (here / "scaling.py").write_text("def to_one(x):\n    return x / x.max()\n")
    Image.new("RGB", (4, 4)).save("black.png")
    with np.errstate(invalid="ignore"):
        result = explain(photo, "black.png", "--method", "gradient", preprocessing="scaling:to_one")
    assert result.exit_code == 1
    assert "skipped: black.png: the preprocessing returned values that are not finite" in result.output
    kernel, bias = network.get_weights()
    x = np.broadcast_to(np.array(COLOUR) / 160, (*SIZE, 3))
    np.testing.assert_allclose(written()["logit"], (x.ravel() @ kernel + bias).max(), rtol=1e-4)


def test_preprocessing_is_asked_for(photo, network):
    result = CliRunner().invoke(main, ["explain", str(photo), "--model", "linear.h5"])
    assert result.exit_code == 2
    assert "give --preprocessing caffe, tf, torch, unit (0 to 1), raw (0 to 255) or MODULE:FUNCTION" in " ".join(
        result.output.split()
    )


@pytest.mark.parametrize("arguments", [["photo.png"], ["--model", "linear.h5"]])
def test_something_is_missing(photo, network, arguments):
    result = CliRunner().invoke(main, ["explain", *arguments])
    assert result.exit_code == 2
    assert "Give at least one IMAGE and the network with --model" in result.output


def test_network_that_cannot_be_downloaded(here, photo, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    result = CliRunner().invoke(main, ["explain", str(photo), "--model", "vgg16"])
    assert result.exit_code == 2
    output = " ".join(result.output.split())
    assert "the weights of VGG16 are not in" in output
    assert "could not be downloaded" in output
    assert "give the path of a model file instead of the name" in output


def test_version():
    result = CliRunner().invoke(main, ["--version"])
    assert result.output == f"rap-keras, version {rap_keras.__version__}\n"


@pytest.mark.slow
def test_command_in_a_process_of_its_own(here, photo, network):
    """In a new process eager execution is on until the command switches it off."""
    root = str(Path(__file__).parents[1])
    result = subprocess.run(
        [
            *(sys.executable, "-m", "rap_keras", "explain", "photo.png"),
            *("--model", "linear.h5", "--preprocessing", "tf"),
        ],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    logits = logits_of(network)
    assert len(lines) == 2
    numbers = printed(result.stdout, f"photo.png  rap  class {logits.argmax()}")
    np.testing.assert_allclose(numbers, logits.max(), rtol=1e-4)
    assert lines[1] == "1 explained, 0 skipped; files in rap-keras-output"
