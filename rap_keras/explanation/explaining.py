"""One call from a model and a photo to an explanation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow import keras

from rap_keras import models
from rap_keras.basics.wording import counted
from rap_keras.datasets import images
from rap_keras.datasets.array_files import is_array_file
from rap_keras.explanation import texts
from rap_keras.explanation.answers import Explanation, Explanations
from rap_keras.explanation.classifiers import Classifier, PhotoClassifier, classifier_of, warn_of_preprocessing
from rap_keras.explanation.explainer import Asked, Explainer
from rap_keras.explanation.kept import at_home
from rap_keras.explanation.photos_and_arrays import Sample, arrays_of, load_arrays, of_arrays, of_photo
from rap_keras.hosts.methods import needs_patterns
from rap_keras.hosts.titles import RAP_METHODS
from rap_keras.patterns.stored import Patterns, digest_of, weights_digest

if TYPE_CHECKING:
    from rap_keras.datasets.images import Preprocessing


def explain(
    model: keras.Model | str | Path,
    sample: Any,
    method: str | Sequence[str] = "rap",
    target: int | str | Sequence[int | str | None] | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    against: int | str | None = None,
    region: np.ndarray | None = None,
    classes: Sequence[str] | str | Path | None = None,
    output: str | int | None = None,
    patterns: Patterns | str | Path | None = None,
    steps: int | None = None,
    baseline: str | int | None = None,
) -> Explanation | Explanations:
    """Explains a network's decision about one photo, about texts, or about one sample of any other kind.

    A final softmax or sigmoid is removed; a network of one sigmoid unit has two classes. A regression has outputs
    in place of classes, see `rap_keras.models.is_regression`. For many samples use `rap_keras.create_analyzer`.

    Examples:
        >>> both = rap_keras.explain(model, "photo.jpg", ["rap", "gradient"], [281, 207], preprocessing="caffe")
        >>> both.save("figure.pdf", width=3.3)

    Args:
        model: A Keras model, or the name of a network or file, as `rap_keras.models.load_model` takes it.
        sample: With `preprocessing` a photo: a path, an image of Pillow, or RGB, uint8, (H, W, 3). Without it the
            network's input, with or without a batch axis: an array, a .npy or .npz file; for several inputs a list
            or a dict by name. For networks that take tokens, a text or a list of texts.
        method: The name of a method, or several, of `rap_keras.methods.names()`, such as "rap.contrastive".
        target: The number or the name of the class to explain, or several. None is the class of the largest logit,
            and for a map the class that is the highest at most places.
        preprocessing: What the network was trained with: "caffe" (VGG, ResNet), "tf" (MobileNet, Inception),
            "torch", "unit" (0 to 1), "raw" (0 to 255), a function of RGB, float32, (N, H, W, 3), 0 to 255, to the
            network's input, or "MODULE:FUNCTION". Networks given by name and keras_hub's tasks have their own.
            For texts a tokenizer, a TextVectorization layer, or a function from texts to numbers, (N, length).
        against: The class to compare with, for contrastive methods.
        region: Where a map is explained: boolean, (H, W) or (steps,); by default where the class is the highest.
        classes: The class names, a text file of them, or "imagenet". Networks given by name have theirs.
        output: The output to explain, by name or number, of a model that has several.
        patterns: What "pattern.attribution" and "pattern.net" need.
        steps: The number of steps of "integrated_gradients", 64 by default; a warning says how many are needed.
        baseline: What "integrated_gradients" compare a text's tokens with: "padding", "mask" or a number.

    Returns:
        An `Explanation`; with several methods, targets or a list of texts, `Explanations`, a tuple of them.

    Raises:
        ConnectionError: The weights of a network given by its name cannot be downloaded.
        FileNotFoundError: There is no such file.
        MemoryError: TensorFlow has no memory for such a large sample.
        NotAnalyzeableModelException: A method cannot explain such a model.
        RuntimeError: Eager execution is off, and the model was built in another thread or with it on.
        TypeError: The photo is of another type.
        ValueError: There is no such method, class or output, or the sample or an option does not fit the network.
    """
    asked = Asked(_several(method), _several(target), against, classes, patterns, steps)
    found = _answers(asked, model, sample, preprocessing, region, output, baseline)
    is_one = isinstance(method, str) and (target is None or isinstance(target, (int, str, np.integer)))
    return found[0] if is_one and not texts.are_several(sample) else found


def _answers(
    asked: Asked,
    model: Any,
    given: Any,
    preprocessing: Preprocessing | None,
    region: Any,
    output: str | int | None,
    baseline: str | int | None,
) -> Explanations:
    asked.require_methods()
    with at_home(model) as keep:
        is_name = isinstance(model, (str, Path))
        loaded = models.load_model(model) if is_name else model
        chosen = repr(output)
        whole = keep(chosen, lambda: models.one_output(loaded, output))
        if preprocessing is None and is_name and (_is_photo(given) or getattr(given, "dtype", None) == np.uint8):
            preprocessing = models.own_preprocessing(str(model))

        def classifier_for(key: str, network: Callable[[], keras.Model], made_of: Any = None) -> Classifier:
            changing = lambda: (made_of, *_copied("logits", whole, None))  # noqa: E731
            return keep((chosen, key), lambda: classifier_of(network()), changing)

        def explainer_of(asked: Asked, classifier: Classifier) -> Explainer:
            def make(key: tuple[Any, ...], build: Callable[[], Any]) -> Any:
                return keep((chosen, *key), build, lambda: (classifier, *_copied(key[0], whole, asked.patterns)))

            return asked.explainer(classifier, model, make)

        given_texts = texts.of_sample(loaded, whole, given)
        if given_texts is not None:
            if region is not None:
                raise ValueError(
                    "region is given with text: give the token numbers as an array, or leave region out"
                )
            reader = texts.reader(loaded, whole, preprocessing)

            def of_shape(asked: Asked, network: Callable[[], keras.Model], made_of: Any) -> Explainer:
                return explainer_of(asked, classifier_for("logits of tokens", network, made_of))

            found = texts.answers(reader, asked, given_texts, baseline, of_shape)
            return Explanations(answer for of_text in found for answer in of_text)
        if baseline is not None:
            raise ValueError("baseline is for texts, and the sample is none: leave baseline out")
        classifier = classifier_for("logits", lambda: whole)
        sample = _prepared(classifier, loaded, given, preprocessing, region)
        return explainer_of(asked, classifier).answers(sample)


def _copied(key: Any, whole: keras.Model, patterns: Any) -> tuple[Any, ...]:
    """Digests of what an analyzer, or a network up to its logits, may copy or compare when it is made.

    Some analyzers of iNNvestigate copy weights; native ones read all weights in every call.
    """
    if key == "logits":  # those of one unit or channel are copied
        return (weights_digest(whole),) * (1 in tuple(whole.outputs[0].shape)[1:])
    with_patterns = patterns is not None and needs_patterns(key)
    if key in RAP_METHODS or key == "values" or (tf.executing_eagerly() and not with_patterns):
        return ()
    if not with_patterns:
        return (weights_digest(whole),)
    found = Patterns.load(patterns) if isinstance(patterns, (str, Path)) else patterns
    return weights_digest(whole), digest_of(found.arrays.values())


def _several(given: Any) -> list[Any]:
    """What was given once or in a sequence, as a list without repetitions; raises ValueError if it is empty."""
    one = given is None or isinstance(given, (str, int, float, np.number))
    if isinstance(given, np.ndarray) and len(np.unique(given)) < given.size:
        raise ValueError(
            f"the array {given.tolist()} names a class twice: give each class once, and of a one-hot array its "
            "argmax()"
        )
    found = [given] if one else list(dict.fromkeys(given))
    if not found:
        raise ValueError("an empty list of methods or targets: give at least one of each")
    return found


def _is_photo(sample: Any) -> bool:
    if isinstance(sample, (str, Path)):
        return not is_array_file(Path(sample))
    return isinstance(sample, Image.Image)


def _prepared(
    classifier: Classifier, model: keras.Model, given: Any, preprocessing: Preprocessing | None, region: Any
) -> Sample:
    """The sample as the network takes it: prepared as said, or by the model's own preprocessor."""
    own = models.preprocessor_of(model)
    if own is not None and preprocessing in (None, own):
        photo = given if _is_photo(given) or isinstance(given, (str, Path, dict)) else np.asarray(given)
        if _is_photo(given) or (isinstance(photo, np.ndarray) and _has_pixels(photo)):
            return _by_task(classifier, photo, own, region)
    sample = _sample(classifier, given, preprocessing, _mask(region, classifier))
    if own is not None and preprocessing is None and any(map(_has_pixels, sample.inputs.values())):
        raise ValueError(
            f"{sample.name} has values like a photo's, from 0 to 255, and the model has a preprocessor of its "
            "own, which prepares photos: give the photo as an image file, or as an array in memory"
        )
    return sample


def _has_pixels(values: np.ndarray) -> bool:
    """Whether an array has values as photos have them before any preprocessing; after it, few exceed 3."""
    return values.dtype.kind in "iuf" and values.size > 0 and bool(values.min() >= 0 and 3 < values.max() <= 255)


def _by_task(classifier: Classifier, photo: Any, preprocessor: Any, region: Any) -> Sample:
    """A photo as the preprocessor of a task makes it, which may also resize and crop it."""
    if region is not None:
        raise ValueError(
            "region is laid over the network's input, which the model's own preprocessor makes of the photo: give "
            "the sample as numpy.asarray(model.preprocessor(photo[None])), and region in its shape"
        )
    name = str(photo) if isinstance(photo, (str, Path)) else "the photo"
    pixels = images.load_photo(photo) if isinstance(photo, (str, Path)) else photo
    if isinstance(pixels, Image.Image) or pixels.dtype == np.uint8:
        pixels = _pixels(pixels)
    batch = pixels.astype(np.float32)  # as in task.predict: the preprocessor would round resized photos of uint8
    made = preprocessor(batch[np.newaxis] if batch.ndim == 3 else batch)
    found = _one(*arrays_of(made, classifier.model), None, name)
    return found._replace(prepared="prepared by the model's own preprocessor")


def _sample(
    classifier: Classifier, given: Any, preprocessing: Preprocessing | None, region: np.ndarray | None
) -> Sample:
    is_path = isinstance(given, (str, Path))
    if isinstance(given, (list, tuple)) and any(map(_is_photo, given)):
        raise ValueError(
            f"a list of {counted(len(given), 'photo')}, and one is explained at a time: call explain for each "
            "of them, or give them to the command `rap-keras explain`"
        )
    if is_path and is_array_file(Path(given)):
        if preprocessing is not None:
            raise ValueError(
                "preprocessing is for photos, and arrays are fed to the network as they are: leave "
                "preprocessing out"
            )
        return _one(*load_arrays(Path(given), classifier.model), region, str(given))
    name = str(given) if is_path else "the photo"
    if preprocessing is None:
        if _is_photo(given):
            raise ValueError(
                f"{name} needs preprocessing, and a wrong guess would spoil the explanation: give what the "
                "network was trained with, preprocessing='caffe', 'tf', 'torch', 'unit' (0 to 1), 'raw' "
                "(0 to 255) or a function"
            )
        return _one(*arrays_of(given, classifier.model), region, "the sample")
    photo = images.load_photo(given) if is_path else _pixels(given)
    size = models.photo_size(classifier.whole, grey=True)
    how = images.find_preprocessing(preprocessing) if isinstance(preprocessing, str) else preprocessing
    taking = PhotoClassifier(**vars(classifier), preprocessing=how, size=size, short_side=None)
    found = of_photo(taking, photo, region, name, Path(name).stem)
    arrays_of(found.x, classifier.model)  # refused where the network cannot take it
    warn_of_preprocessing(classifier.whole, how)
    return found


def _one(arrays: dict[str, np.ndarray], is_batch: bool, region: np.ndarray | None, name: str) -> Sample:
    """The only sample of a batch; raises ValueError if there are several."""
    found = of_arrays(arrays, region, name, Path(name).stem, numbered=False)
    if len(found) > 1:
        raise ValueError(
            f"{name} is a batch of {len(found)}, and one is explained at a time: give one, such as x[0], or "
            "explain all with rap_keras.create_analyzer(method, model).analyze(x)"
        )
    return found[0]


def _pixels(photo: Any) -> np.ndarray:
    """A photo in memory as RGB, uint8, (H, W, 3)."""
    if isinstance(photo, Image.Image):
        return images.from_pillow(photo)
    pixels = np.asarray(photo)
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 1):
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=-1)
    if pixels.dtype != np.uint8:
        raise TypeError(
            f"the photo has data type {pixels.dtype}, and preprocessing takes photos of uint8, from 0 to 255: "
            "give such a photo, (255 * photo).astype('uint8') if it is from 0 to 1, or leave preprocessing out if "
            "the array is the network's input"
        )
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.size == 0:
        way_out = ""
        if pixels.ndim == 3 and pixels.shape[-1] == 4:
            way_out = ": leave its alpha out, photo[..., :3]"
        elif pixels.ndim == 3 and len(pixels) == 3:
            way_out = ": put its channels last, photo.transpose(1, 2, 0)"
        raise ValueError(
            f"the photo has shape {pixels.shape}, and must be one photo, RGB, (H, W, 3), or grey, (H, W){way_out}"
        )
    return pixels


def _mask(region: Any, classifier: Classifier) -> np.ndarray | None:
    """The region, if there is one and the network can be asked about it."""
    if region is None:
        return None
    mask, places = np.asarray(region), classifier.places("region")
    if mask.dtype != bool or mask.ndim != len(places):
        wanted = "(H, W)" if len(places) == 2 else f"with {len(places)} axes, such as {places}"
        raise ValueError(
            f"region has data type {mask.dtype} and shape {mask.shape}: give booleans, {wanted}, such as mask > 0"
        )
    if not mask.any():
        raise ValueError("region is False everywhere: set the places to explain to True")
    return mask
