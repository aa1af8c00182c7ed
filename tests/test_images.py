from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow import keras

from rap_keras.datasets import images


def save(path: Path, values: object, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(np.asarray(values)) if mode is None else Image.new(mode, (2, 2), values)
    image.save(path, **options)
    return path


@pytest.fixture
def random_photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def test_rgb_photo_keeps_its_values(tmp_path, random_photo):
    loaded = images.load_photo(save(tmp_path / "a.png", random_photo))
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, random_photo)
    loaded[0] = 0  # the caller may write into it


def test_greyscale_photo_has_equal_channels(tmp_path):
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    loaded = images.load_photo(save(tmp_path / "a.png", grey))
    np.testing.assert_array_equal(loaded, np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_photo_is_scaled_by_its_whole_range(tmp_path, suffix):
    deep = np.array([[0, 300, 128 * 257, 65535]], np.uint16)  # truncated 300 would be 44 or 255
    loaded = images.load_photo(save(tmp_path / f"a{suffix}", deep))
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded[0], [[0] * 3, [1] * 3, [128] * 3, [255] * 3])


@pytest.mark.parametrize(
    ("values", "name"),
    [(np.full((2, 2), 0.5, np.float32), "float32"), (np.full((2, 2), 70000, np.int32), "70000")],
)
def test_deeper_photo_is_refused(tmp_path, values, name):
    with pytest.raises(ValueError, match=rf"deep\.tif.*{name}.*8 or 16 bits"):
        images.load_photo(save(tmp_path / "deep.tif", values))


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGBA", (255, 0, 0, 128), ".png", (255, 127, 127)),
        ("RGBA", (9, 9, 9, 0), ".png", (255, 255, 255)),
        ("LA", (0, 51), ".png", (204, 204, 204)),
        ("CMYK", (0, 255, 255, 0), ".tif", (255, 0, 0)),
        ("1", 1, ".png", (255, 255, 255)),
        ("P", 0, ".gif", (0, 0, 0)),
    ],
)
def test_other_colour_spaces_are_converted(tmp_path, mode, colour, suffix, expected):
    loaded = images.load_photo(save(tmp_path / f"a{suffix}", colour, mode))
    assert loaded.shape == (2, 2, 3)
    np.testing.assert_array_equal(loaded[1, 1], expected)


def test_transparent_colour_of_a_palette_becomes_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(images.load_photo(tmp_path / "a.png")[0], [[255] * 3, [200, 100, 50]])


def test_photo_is_turned_upright(tmp_path):
    values = np.zeros((2, 3, 3), np.uint8)
    values[0, 0] = 255  # top left of the sensor is the top right of the photo
    exif = Image.Exif()
    exif[0x0112] = 6
    loaded = images.load_photo(save(tmp_path / "a.png", values, exif=exif))
    assert loaded.shape == (3, 2, 3)
    np.testing.assert_array_equal(np.argwhere(loaded[..., 0]), [[0, 1]])


def png_16(path: Path, values: np.ndarray) -> Path:
    """Writes (H, W, channels), uint16, which Pillow cannot: greyscale with alpha, RGB or RGBA."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def tiff_16(path: Path, values: np.ndarray, order: str, compressed: bool = False) -> Path:
    """Writes RGB or CMYK, uint16, which Pillow cannot, in one strip."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compressed else data
    photometric = {3: 2, 4: 5}[channels]
    bits = 8 + 2 + 12 * 10 + 4  # where the four bit depths are stored
    fields = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, bits),
        (259, 3, 1, 8 if compressed else 1),
    ]
    fields += [(262, 3, 1, photometric), (273, 4, 1, bits + 8), (277, 3, 1, channels), (278, 4, 1, height)]
    fields += [(279, 4, 1, len(data)), (284, 3, 1, 1)]
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(fields))
    for tag, kind, count, value in fields:
        short = kind == 3 and count == 1
        content += struct.pack(
            f"{order}HHI{'HH' if short else 'I'}", tag, kind, count, *([value, 0] if short else [value])
        )
    content += struct.pack(f"{order}I4H", 0, 16, 16, 16, 16)
    path.write_bytes(content + data)
    return path


@pytest.fixture
def deep() -> np.ndarray:
    """Colours of 16 bits, including black and white."""
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    values[0, 0], values[0, 1] = 0, 65535
    return values


def test_16_bit_colours(tmp_path, deep):
    expected = np.rint(deep / 257)
    for path in (
        png_16(tmp_path / "a.png", deep),
        tiff_16(tmp_path / "a.tif", deep, "<"),
        tiff_16(tmp_path / "b.tif", deep, ">"),
        tiff_16(tmp_path / "c.tif", deep, "<", compressed=True),
    ):
        np.testing.assert_array_equal(images.load_photo(path), expected)


def test_16_bit_colours_with_alpha(tmp_path, deep):
    alpha = np.full((5, 7, 1), 65535, np.uint16)
    alpha[:, 3:] = 0
    loaded = images.load_photo(png_16(tmp_path / "a.png", np.concatenate([deep, alpha], axis=-1)))
    np.testing.assert_array_equal(loaded[:, :3], np.rint(deep / 257)[:, :3])
    np.testing.assert_array_equal(loaded[:, 3:], 255)
    ink = np.zeros((5, 7, 4), np.uint16)
    ink[..., 1:3] = 65535
    np.testing.assert_array_equal(images.load_photo(tiff_16(tmp_path / "a.tif", ink, "<"))[0, 0], (255, 0, 0))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_12_bit_photo_is_scaled_by_its_range_with_a_word(tmp_path, deep, suffix):
    grey = np.array([[0, 1000, 4095]], np.uint16)
    expected = np.rint(grey / 4095 * 255)
    with pytest.warns(UserWarning, match=rf"grey\{suffix}: 16 bits .* no value is above 4095: taken for 12 bits"):
        loaded = images.load_photo(save(tmp_path / f"grey{suffix}", grey))
    np.testing.assert_array_equal(loaded, np.stack([expected] * 3, axis=-1))
    colours = deep // 16
    path = tmp_path / f"colours{suffix}"
    path = png_16(path, colours) if suffix == ".png" else tiff_16(path, colours, "<")
    with pytest.warns(UserWarning, match="colours.*taken for 12 bits") as told:
        loaded = images.load_photo(path)
    np.testing.assert_array_equal(loaded, np.rint(colours / 4095 * 255))
    assert told[0].filename == __file__


def test_12_bit_colours_with_full_alpha(tmp_path, deep):
    alpha = np.full((5, 7, 1), 65535, np.uint16)
    with pytest.warns(UserWarning, match="taken for 12 bits"):
        loaded = images.load_photo(png_16(tmp_path / "a.png", np.concatenate([deep // 16, alpha], axis=-1)))
    np.testing.assert_array_equal(loaded, np.rint(deep // 16 / 4095 * 255))


def test_16_bit_grey_with_alpha(tmp_path, deep):
    values = np.concatenate([deep[..., :1], np.full((5, 7, 1), 65535, np.uint16)], axis=-1)
    loaded = images.load_photo(png_16(tmp_path / "a.png", values))
    np.testing.assert_allclose(loaded[..., 0], deep[..., 0] / 257, atol=1)
    values[..., 0] //= 16
    with pytest.raises(ValueError, match=r"b\.png: 16 bits .* save it without its alpha channel"):
        images.load_photo(png_16(tmp_path / "b.png", values))


def test_black_stays_black_and_the_range_of_a_pgm_is_known(tmp_path):
    black = images.load_photo(save(tmp_path / "black.png", np.zeros((2, 2), np.uint16)))
    np.testing.assert_array_equal(black, 0)
    (tmp_path / "dark.pgm").write_bytes(b"P5 2 1 65535\n" + np.array([0, 2570], ">u2").tobytes())
    np.testing.assert_array_equal(images.load_photo(tmp_path / "dark.pgm")[0, :, 0], [0, 10])


def test_a_photo_of_16_bits_is_turned_upright(tmp_path, deep):
    exif = Image.Exif()
    exif[0x0112] = 6
    small = (deep // 257).astype(np.uint8)
    turned = images.load_photo(save(tmp_path / "a.png", small, exif=exif))
    content = png_16(tmp_path / "b.png", deep).read_bytes()
    data = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    (tmp_path / "b.png").write_bytes(content[:33] + chunk + content[33:])
    loaded = images.load_photo(tmp_path / "b.png")
    assert loaded.shape == turned.shape == (7, 5, 3)
    np.testing.assert_allclose(loaded, turned.astype(int), atol=1)


def test_over_large_photo(tmp_path, random_photo, monkeypatch):
    path = save(tmp_path / "large.png", random_photo)  # 54 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 26)
    with pytest.raises(
        ValueError, match=r"large\.png: too large \(.*54 pixels.* limit of 52 .*: save it with fewer pixels"
    ):
        images.load_photo(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)  # Pillow warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(images.load_photo(path), random_photo)


def test_other_formats_are_not_tried(tmp_path, random_photo):
    for suffix in (".tga", ".sgi", ".eps"):
        save(tmp_path / f"a{suffix}", random_photo)
        (tmp_path / f"a{suffix}").rename(tmp_path / "a.png")
        with pytest.raises(ValueError, match=r"a\.png: not an image, or not in one of the formats BMP"):
            images.load_photo(tmp_path / "a.png")


def test_missing_photo(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        images.load_photo(tmp_path / "no.png")


def test_file_that_is_no_image(tmp_path):
    (tmp_path / "a.jpg").write_text("not a photo")
    with pytest.raises(ValueError, match=r"a\.jpg: not an image"):
        images.load_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".tif"])
def test_truncated_image(tmp_path, random_photo, suffix):
    path = save(tmp_path / f"a{suffix}", np.tile(random_photo, (20, 20, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"a\{suffix}: (damaged|not an) image"):
        images.load_photo(path)


def test_files_and_folders_are_expanded_in_order(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt", "deeper/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    odd = tmp_path / "notes.txt"
    again = tmp_path / "deeper" / ".." / "a.png"
    found = images.expand([odd, tmp_path, again, tmp_path / "deeper"])
    assert found == [odd, tmp_path / "a.png", tmp_path / "b.JPG", tmp_path / "deeper" / "c.png"]


def test_folder_without_images(tmp_path):
    (tmp_path / "model.h5").touch()
    with pytest.raises(ValueError, match="no image in this folder"):
        images.expand([tmp_path])


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        images.expand([tmp_path / "nowhere"])


def test_fit_straight_to_a_size():
    photo = np.zeros((40, 20, 3), np.uint8)
    photo[:20] = 200
    fitted = images.fit(photo, (4, 6))
    assert fitted.shape == (4, 6, 3)
    np.testing.assert_array_equal(fitted[[0, 3], :, 0], [[200] * 6, [0] * 6])


def test_fit_by_the_short_side_cuts_out_the_centre():
    photo = np.zeros((50, 100, 3), np.uint8)
    photo[:] = np.arange(100)[:, np.newaxis]
    np.testing.assert_array_equal(images.fit(photo, (50, 50), 50), photo[:, 25:75])
    np.testing.assert_array_equal(images.fit(photo, (10, 20), 50), photo[20:30, 40:60])


def test_fit_by_the_short_side_keeps_the_aspect():
    photo = np.zeros((100, 60, 3), np.uint8)
    photo[40:60, 20:40] = 255  # a square in the centre
    fitted = images.fit(photo, (30, 30), 30)
    np.testing.assert_array_equal(np.argwhere(fitted[..., 0] > 127).min(axis=0), [10, 10])
    np.testing.assert_array_equal(np.argwhere(fitted[..., 0] > 127).max(axis=0), [19, 19])


@pytest.mark.parametrize("short_side", [None, 8])
def test_fit_one_pixel(short_side):
    photo = np.array([[[10, 20, 30]]], np.uint8)
    np.testing.assert_array_equal(images.fit(photo, (5, 7), short_side), np.tile(photo, (5, 7, 1)))


def test_fit_refuses_impossible_sizes(random_photo):
    with pytest.raises(ValueError, match="resize to at least 224"):
        images.fit(random_photo, (224, 224), 200)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        images.fit(random_photo, (0, 5))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("caffe", [30 - 103.939, 20 - 116.779, 10 - 123.68]),
        ("tf", [10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1]),
        (
            "torch",
            [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225],
        ),
    ],
)
def test_preprocessing_by_name(how, expected, random_photo):
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    batch = images.preprocess([pixel, pixel], how)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, np.full((2, 1, 1, 3), expected), rtol=1e-5)
    np.testing.assert_allclose(
        images.preprocess([random_photo], how)[0],
        keras.applications.imagenet_utils.preprocess_input(random_photo.astype(np.float32), mode=how),
        rtol=1e-5,
        atol=1e-5,
    )


def test_preprocessing_by_a_function_of_a_file_here(tmp_path, monkeypatch):
    (tmp_path / "own_preprocessing.py").write_text("def halve(x):\n    x /= 2\n    return x\n")
    monkeypatch.chdir(tmp_path)
    photos = np.full((1, 2, 2, 3), 100, np.float32)
    np.testing.assert_array_equal(images.preprocess(photos, "own_preprocessing:halve"), 50)
    np.testing.assert_array_equal(photos, 100)  # halved in a copy


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cafe", "unknown preprocessing 'cafe': give caffe, tf, torch, unit, raw or MODULE:FUNCTION"),
        ("mine.prepare", r"unknown preprocessing 'mine\.prepare', did you mean mine:prepare\? Else give caffe"),
        (":f", "unknown preprocessing"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("math:no_such_function", "no_such_function"),
        ("math:pi", "pi is not a function"),
    ],
)
def test_preprocessing_that_is_unknown(how, message):
    with pytest.raises(ValueError, match=message):
        images.find_preprocessing(how)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x[0], r"the shape \(1, 2, 2, 3\) to \(2, 2, 3\)"),
        (lambda x: x / 0 * 0, "not finite"),
        (lambda x: x.no_such_method(), "failed: AttributeError"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_preprocessing_that_fails(function, message):
    with pytest.raises(ValueError, match=message):
        images.preprocess(np.ones((1, 2, 2, 3), np.uint8), function)


def test_tiff_in_which_0_is_white(tmp_path):
    values = np.array([[0, 25700], [51400, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "white.tif", tiffinfo={262: 0})
    Image.fromarray(values).save(tmp_path / "black.tif")
    expected = np.array([[255, 155], [55, 0]])
    np.testing.assert_array_equal(images.load_photo(tmp_path / "white.tif")[..., 0], expected)
    np.testing.assert_array_equal(images.load_photo(tmp_path / "black.tif")[..., 0], 255 - expected)


def test_a_photo_keeps_its_size_for_a_network_of_any_size():
    photo = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(images.fit(photo, None), photo)
