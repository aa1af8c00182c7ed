"""From photo files to a network's input: reading, fitting to its size, preprocessing."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageFile, ImageOps

from rap_keras.basics.whole_file import require_file
from rap_keras.models.user_code import find_function

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Extensions of images in a folder, lower case."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats in which Pillow may read a file, whatever its name: those of `EXTENSIONS`."""

_WHITE_IS = 262  # the tag of TIFF that tells whether 0 or the largest value is white

Preprocessing = Union[str, Callable[[np.ndarray], ArrayLike]]

# Means and deviations of ImageNet's photos, as the networks trained on it expect them.
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN_RGB = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATION_RGB = np.array([0.229, 0.224, 0.225], np.float32)


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """The image files that files and folders stand for, without duplicates.

    A file stands for itself, whatever its name. A folder stands for the files directly in it whose
    extension is one of `EXTENSIONS`, sorted by name; hidden files are left out.

    Raises:
        FileNotFoundError: There is no such file or folder.
        OSError: What is given is a pipe, a device or a socket.
        ValueError: A folder holds no image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        if not path.is_dir():
            require_file(path)
            found.append(path)
            continue
        inside = [
            file
            for file in sorted(path.iterdir())
            if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file()
        ]
        if not inside:
            raise ValueError(
                f"{path}: no image in this folder (looked for {', '.join(sorted(EXTENSIONS))}; "
                "folders in it are not searched)"
            )
        found += inside
    unique: dict[Path, Path] = {}
    for file in found:
        unique.setdefault(file.resolve(), file)
    return list(unique.values())


@contextmanager
def opened(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """Opens an image of one of `FORMATS`, before Pillow reads any pixel; for masks and other data.

    Yields:
        The open image, whose pixels are read when they are needed.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The file cannot be opened.
        ValueError: The file is not an image, is damaged, or has more pixels than Pillow takes.
    """
    require_file(path)
    with open(path, "rb") as file:
        try:
            with warnings.catch_warnings():
                # Pillow warns at half of its limit, which harmless photos reach.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                yield Image.open(file, formats=FORMATS)
        except Image.UnidentifiedImageError:
            message = f"{path}: not an image, or not in one of the formats {', '.join(FORMATS)}: save it as PNG"
            raise ValueError(message) from None
        except Image.DecompressionBombError as error:
            raise ValueError(f"{path}: too large ({error}): save it with fewer pixels") from error
        # Decoders raise SyntaxError, struct.error, zlib.error and others for damaged files.
        except Exception as error:
            raise ValueError(f"{path}: damaged image ({error})") from error


def load_photo(path: str | Path) -> np.ndarray:
    """A photo as RGB, uint8, (H, W, 3), turned upright by its EXIF orientation.

    Greyscale, palette, CMYK and other colour spaces are converted; transparent pixels become white, with a
    warning. 16 bits per channel are scaled so that 65535 becomes 255; if no value of a PNG or TIFF file is above
    4095 they are taken for 12 bits, with a warning, and 4095 becomes 255. An animation gives its first picture.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The file cannot be opened.
        ValueError: The file is not an image, is damaged, or has more pixels than Pillow takes; or its pixels are
            32-bit numbers, whose range is unknown.
    """
    with opened(path) as image:
        raw, may_be_12_bits = _raw_mode(image), image.format in ("PNG", "TIFF")
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        grey = _from_deep(np.asarray(upright), may_be_12_bits, path)
        if dict(getattr(image, "tag_v2", {})).get(_WHITE_IS) == 0:  # Pillow inverts 8 bits, but not 16
            grey = 255 - grey
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if ";16" in raw:
        values = _both_bytes(image, raw, path)
        colours = 4 if image.mode == "CMYK" else 3
        scaled = _from_deep(values[..., :colours], may_be_12_bits, path)
        if values.shape[2] > colours:
            alpha = _from_deep(values[..., colours:], may_be_12_bits, path)
            scaled = np.concatenate([scaled, alpha], axis=-1)
        image.paste(Image.frombytes(image.mode, image.size, scaled.tobytes()))
        upright = ImageOps.exif_transpose(image)
    return _opaque(upright, str(path))


def from_pillow(image: Image.Image, name: str = "the photo") -> np.ndarray:
    """An image of Pillow as `load_photo` gives that of a file: upright, transparent pixels white.

    Raises:
        ValueError: its pixels have more than 8 bits per channel.
    """
    if image.mode.startswith(("I", "F")) or ";16" in _raw_mode(image):
        raise ValueError(f"{name} has more than 8 bits per channel: give the path of its file")
    return _opaque(ImageOps.exif_transpose(image), name)


def _opaque(image: Image.Image, name: str) -> np.ndarray:
    """An image as RGB, uint8, (H, W, 3); what shows through it is white, with a warning."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        if np.asarray(layer.getchannel("A")).min() < 255:
            warnings.warn(
                f"{name} has transparent pixels, which the network sees in white: save it without transparency "
                "if something else belongs there",
                stacklevel=3,
            )
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))


def to_grey(photo: np.ndarray) -> np.ndarray:
    """A photo, RGB, uint8, (H, W, 3), as grey with three equal channels: the luma of ITU-R BT.601."""
    return np.array(Image.fromarray(photo).convert("L").convert("RGB"))


def _from_deep(values: np.ndarray, may_be_12_bits: bool, path: str | Path) -> np.ndarray:
    """Values of more than 8 bits as uint8."""
    # Pillow before 11 gives 16-bit PNG files as 32-bit integers.
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"{path}: pixels of {values.dtype} from {values.min()} to {values.max()}, a range "
            "without a known black and white: save it with 8 or 16 bits per channel"
        )
    full = 65535
    if may_be_12_bits and 0 < values.max() <= 4095:
        full = 4095
        warnings.warn(
            f"{path}: 16 bits per channel, but no value is above {values.max()}: taken for 12 bits, "
            "so that 4095 is white",
            stacklevel=3,
        )
    return np.rint(values * (255 / full)).astype(np.uint8)


def _both_bytes(image: Image.Image, raw: str, path: str | Path) -> np.ndarray:
    """The 16-bit values of an image with colours, (H, W, channels), of which Pillow keeps only the upper bytes."""
    upper = np.asarray(image).astype(np.uint16)
    kind, order = raw.split(";16")
    if kind not in ("RGB", "RGBX", "RGBA", "CMYK"):
        if 0 < upper[..., :3].max() <= 15:
            raise ValueError(
                f"{path}: 16 bits per channel, but no value is above 4095, and with these channels ({kind}) "
                "only 8 of the bits can be read: save it without its alpha channel, or with 8 bits"
            )
        return upper * 257
    # The lower bytes come from reading the file as if its bytes were in the other order.
    order = sys.byteorder[0].upper() if order == "N" else order
    other = f"{kind};16{'B' if order == 'L' else 'L'}"
    with opened(path) as again:
        again.tile = [_in_mode(tile, other) for tile in again.tile]
        again.load()
        return upper * 256 + np.asarray(again)


def _in_mode(tile: Any, raw: str) -> Any:
    """A tile for Pillow to unpack, with another raw mode."""
    arguments = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _raw_mode(image: Image.Image) -> str:
    """How Pillow unpacks an image that is not loaded yet, such as RGB;16B for 16 bits, the upper byte first."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) else (arguments or [""])[0])


def fit(
    photo: np.ndarray,
    size: tuple[int, int] | None,
    short_side: int | None = None,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """Fits a photo to the size of a network's input.

    Args:
        photo: RGB, uint8, (H, W, 3).
        size: Height and width wanted, in pixels; None keeps the photo's own, for a network that takes any.
        short_side: Without it the photo is resized straight to `size`, whatever its aspect. With it the shorter
            side is resized to that many pixels, keeping the aspect, and `size` is cut out of the centre.
        resample: Pillow's way of resizing.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: A length is not positive, or `short_side` is smaller than what is cut out.
    """
    if size is None:
        return photo.copy()
    height, width = size
    if min(height, width) < 1:
        raise ValueError(f"size {height}x{width}: both must be at least 1 pixel")
    image = Image.fromarray(photo)
    if short_side is None:
        return np.array(image.resize((width, height), resample))
    if short_side < max(height, width):
        raise ValueError(
            f"the short side is resized to {short_side} pixels, so {height}x{width} pixels cannot "
            f"be cut out: resize to at least {max(height, width)}"
        )
    scale = short_side / min(image.size)
    # max: rounding must not make the short side shorter.
    across, down = (max(short_side, int(length * scale)) for length in image.size)
    left, top = round((across - width) / 2), round((down - height) / 2)
    image = image.resize((across, down), resample)
    return np.array(image.crop((left, top, left + width, top + height)))


def find_preprocessing(how: str) -> Callable[[np.ndarray], ArrayLike]:
    """Finds a preprocessing: caffe, tf, torch, unit, raw, or a function given as MODULE:FUNCTION.

    - caffe: BGR, minus ImageNet's mean colour (VGG, ResNet of keras.applications)
    - tf: from -1 to 1 (MobileNet, Inception, ResNetV2)
    - torch: RGB from 0 to 1, minus ImageNet's mean, over its deviation (torchvision, DenseNet)
    - unit: from 0 to 1
    - raw: from 0 to 255, unchanged, for networks that scale photos themselves (EfficientNet, MobileNetV3)
    - MODULE:FUNCTION: takes RGB, float32, (N, H, W, 3), 0 to 255, and returns the network's input,
      of the same shape. MODULE may be a file in the current folder, given without .py, unless an installed
      module has the same name.

    Raises:
        ValueError: There is no such preprocessing, module or function, or the module fails.
    """
    if how in PREPROCESSINGS:
        return PREPROCESSINGS[how]
    module, colon, name = how.partition(":")
    if not (module and colon and name):
        dotted, _, last = how.rpartition(".")
        meant = f", did you mean {dotted}:{last}? Else" if dotted and last and not colon else ":"
        raise ValueError(
            f"unknown preprocessing {how!r}{meant} give {', '.join(PREPROCESSINGS)} or MODULE:FUNCTION, a "
            "function of your own that takes RGB photos, float32, (N, H, W, 3), 0 to 255"
        )
    try:
        return find_function(how)
    except ValueError as error:
        raise ValueError(f"preprocessing {how!r}: {error}") from error


def preprocess(photos: Sequence[np.ndarray] | np.ndarray, how: Preprocessing) -> np.ndarray:
    """Photos as a batch of network inputs.

    Args:
        photos: RGB, uint8, (N, H, W, 3).
        how: A name for `find_preprocessing`, or such a function itself.

    Returns:
        The batch, float32, (N, H, W, 3).

    Raises:
        ValueError: `how` is unknown; or the function fails, or returns another shape or values not finite.
    """
    function = find_preprocessing(how) if isinstance(how, str) else how
    batch = np.array(photos, np.float32)  # a copy: some functions work in place
    shape = batch.shape
    try:
        result = np.asarray(function(batch), np.float32)
    except Exception as error:
        raise ValueError(f"the preprocessing failed: {type(error).__name__}: {error}") from error
    if result.shape != shape:
        for_grey = ". For grey photos give unit, tf or raw, or a function of yours"
        hint = for_grey if shape[-1] == 1 and result.shape[-1] == 3 else ""
        raise ValueError(f"the preprocessing changed the shape {shape} to {result.shape}: it must keep it{hint}")
    if not np.isfinite(result).all():
        raise ValueError("the preprocessing returned values that are not finite")
    return result


def _caffe(batch: np.ndarray) -> np.ndarray:
    return batch[..., ::-1] - _CAFFE_MEAN_BGR


def _tf(batch: np.ndarray) -> np.ndarray:
    return batch / 127.5 - 1


def _torch(batch: np.ndarray) -> np.ndarray:
    return (batch / 255 - _TORCH_MEAN_RGB) / _TORCH_DEVIATION_RGB


def _unit(batch: np.ndarray) -> np.ndarray:
    return batch / 255


def _raw(batch: np.ndarray) -> np.ndarray:
    return batch


PREPROCESSINGS: dict[str, Callable[[np.ndarray], ArrayLike]] = {
    "caffe": _caffe,
    "tf": _tf,
    "torch": _torch,
    "unit": _unit,
    "raw": _raw,
}
"""The preprocessings that have names."""
