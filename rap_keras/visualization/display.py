"""One call from relevance to a figure: made, shown where there is a screen, or written to a file."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from rap_keras.basics import whole_file
from rap_keras.basics.wording import counted
from rap_keras.visualization.colours import SEISMIC, Style, as_pixels, heatmap, numbers, require_same_size
from rap_keras.visualization.image_figures import Row, by_photo, drawn
from rap_keras.visualization.sample_pictures import Cell, as_photo, channels_note, stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRINT_DPI = 300
"""Dots per inch of pictures in a file."""

_SCREEN_DPI = 192
_MOST_PIXELS = 50_000_000  # matplotlib takes about 50 bytes for each, in files of any format


def picture(
    relevance: ArrayLike | Mapping[str, Any],
    photo: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    titles: Sequence[str] | None = None,
    scale: str = "percentile",
    absolute: bool = False,
    overlay: float | None = None,
    colormap: str = SEISMIC,
    width: float | None = None,
    font_size: float = 8,
) -> Figure:
    """A figure of relevance from any source, beside the photo or over it.

    The scale of each heatmap is symmetric about 0, and the figure says what its ends are.

    Examples:
        >>> rap_keras.visualization.picture({"RAP": relevance, "Gradient": gradient}, photo, width=3.3)

    Args:
        relevance: Of one sample, as an analyzer gives it, with or without a batch axis of 1: (H, W, C) or (H, W)
            for an image, else in the shape of the sample. Several methods or targets are a dict from each
            heading to its array.
        photo: The photo, (H, W, 3), uint8 or float in [0, 1]; or the sample itself, in the shape of its
            relevance, for series (time, channels), vectors, volumes and images that are not RGB, (H, W, channels).
            For several images it is a list, and each array of `relevance` has one entry for each image.
        titles: A label for each image of the list.
        scale: What gets the darkest colour: "percentile", the 99th percentile of |relevance|, so that a single
            strong pixel does not make all others white; or "max", the largest.
        absolute: Draw |relevance|, as is usual for gradients. It is taken after the sum over the channels.
        overlay: Draw the heatmap over the photo in grey, with this opacity, from 0 to 1, instead of beside it.
        colormap: "seismic", or another colour map of matplotlib.
        width: Of the figure, in inches. The columns wrap if they do not fit. The default depends on their number.
        font_size: Of all text in images' figures, in points.

    Returns:
        The figure. `save` writes it to a file.

    Raises:
        TypeError: An argument is not made of real numbers, or has a wrong type.
        ValueError: The arrays do not fit together, have values that are not finite, or an option is out of range.
    """
    style = Style(scale, absolute, overlay, colormap, width, font_size).checked()
    arrays = relevance if isinstance(relevance, Mapping) else {"relevance": relevance}
    if not arrays:
        raise ValueError("relevance is an empty dict: give the relevance of at least one method")
    if isinstance(photo, (list, tuple)):
        found = by_photo(photo, arrays, titles)
        return drawn([_row(maps, np.asarray(image), label) for label, image, maps in found], style)
    if titles is not None:
        raise ValueError("titles is for several photos, given as a list: for one photo give titles=None")
    maps = {str(name): np.asarray(values) for name, values in arrays.items()}
    sample = None if photo is None else np.asarray(photo)
    if sample is None or sample.ndim == 3:
        return drawn([_row(maps, sample)], style)
    require_no_overlay(style)
    sample = numbers(sample, "photo", {n: counted(n, "axis", "axes") for n in range(1, 8)})
    cells = [Cell(name, sample, _of_shape(values, sample.shape, name)) for name, values in maps.items()]
    return stacked([cells], style)


def require_no_overlay(style: Style) -> None:
    """Raises ValueError if a heatmap is to be drawn over a sample that is no image."""
    if style.overlay is not None:
        raise ValueError("overlay is for images: leave it out for series, vectors and volumes")


def show(relevance: ArrayLike | Mapping[str, Any], photo: Any = None, **options: Any) -> None:
    """Shows relevance from any source: in a notebook below the cell, else in the viewer for pictures.

    Examples:
        >>> rap_keras.show(relevance, photo)

    Args:
        relevance: This, the photo and the options are those of `rap_keras.visualization.picture`.
        photo: The photo or sample.
        **options: How it is drawn.

    Warns:
        UserWarning: There is no viewer; the message says how to write a file.
    """
    display(picture(relevance, photo, **options))


def save(figure: Figure, path: str | Path, dpi: float = PRINT_DPI) -> None:
    """Writes a figure to a file, ready for a paper: in a PDF the fonts are embedded as TrueType.

    Args:
        figure: As `picture` makes it.
        path: Ends in .pdf, .svg, .png, or another format of matplotlib. Missing folders are made.
        dpi: Dots per inch of pictures.

    Raises:
        OSError: The file cannot be written.
        ValueError: There is no such format, or the figure has more than 50 million pixels.
    """
    from matplotlib import rc_context, rcParams

    _require_drawable(figure, dpi)
    # Type 3, matplotlib's default, is refused by many publishers. Text of an SVG stays text.
    style: Any = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}
    file = Path(path) if Path(path).suffix else Path(f"{path}.{rcParams['savefig.format']}")  # as matplotlib does
    written = io.BytesIO()  # on a full disk Pillow tells nothing, and the writer of PDFs fails in its own way
    with rc_context(style):
        figure.savefig(written, format=file.suffix[1:].lower(), dpi=dpi)
    whole_file.write(file, written.getvalue())


def display(figure: Figure) -> None:
    """Shows a figure: in a notebook below the cell, else in the viewer for pictures; without one it warns."""
    if in_notebook():
        from IPython.display import Image
        from IPython.display import display as display_below

        # Not as HTML, which some viewers of notebooks leave out, GitHub's among them.
        display_below(Image(_as_png(figure), width=_css_width(figure)))
        return
    if not _shown_by_viewer(_as_png(figure)):
        warnings.warn(
            "there is no viewer for pictures on this machine: write the figure to a file, with "
            "explanation.save('figure.png') or rap_keras.visualization.save(figure, 'figure.png')",
            stacklevel=3,
        )


def as_html(figure: Figure, description: str = "relevance") -> str:
    """A figure as an image in HTML, sharp on screens of high resolution; `description` is its alternative text."""
    data, width = base64.b64encode(_as_png(figure)).decode("ascii"), _css_width(figure)
    return (
        f'<img alt="{html.escape(description)}" style="max-width:100%;background:white" width="{width}" '
        f'src="data:image/png;base64,{data}">'
    )


def _css_width(figure: Figure) -> int:
    return round(96 * figure.get_figwidth())  # CSS has 96 pixels in an inch


def _as_png(figure: Figure) -> bytes:
    written = io.BytesIO()
    _require_drawable(figure, _SCREEN_DPI)
    figure.savefig(written, format="png", dpi=_SCREEN_DPI)
    return written.getvalue()


def _require_drawable(figure: Figure, dpi: float) -> None:
    """Raises ValueError if a figure has more pixels than fit into memory."""
    width, height = map(float, figure.get_size_inches())
    if not width * height * dpi**2 <= _MOST_PIXELS:
        most = math.floor(math.sqrt(_MOST_PIXELS / (width * height)))
        raise ValueError(
            f"the figure has {width:.4g} x {height:.4g} inches, at {dpi:g} dpi {width * dpi:,.0f} x "
            f"{height * dpi:,.0f} pixels, and may have at most {_MOST_PIXELS:,}, which take gigabytes of memory: "
            f"give a smaller width, or a dpi of at most {most}"
        )


def _shown_by_viewer(png: bytes) -> bool:
    from PIL import Image, ImageShow

    # Pillow's viewer for notebooks prints a line elsewhere, and says that it has shown the picture.
    viewers = [one for one in ImageShow._viewers if type(one).__name__ != "IPythonViewer"]
    # Without a screen `xdg-open` and others still start, and Pillow does not see them fail.
    if sys.platform not in ("win32", "darwin") and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return False
    return any(viewer.show(Image.open(io.BytesIO(png))) for viewer in viewers)


def in_notebook() -> bool:
    """Whether the program runs in a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _row(arrays: Mapping[str, np.ndarray], photo: np.ndarray | None, label: str = "") -> Row:
    """An image with its heatmaps, which are summed over their channels."""
    pixels = None
    if photo is not None:
        is_rgb = photo.ndim == 3 and photo.shape[-1] == 3
        rgb = photo if is_rgb else as_photo(numbers(photo, "photo", {3: "(H, W, channels)"}))
        pixels = as_pixels(rgb, "photo")
        label = "\n".join(filter(None, [label, channels_note(photo.shape[-1])]))
    maps = {}
    for name, values in arrays.items():
        own = values[0] if values.ndim == 4 and len(values) == 1 else values
        own = numbers(own, f"the relevance of {name}", {2: "(H, W)", 3: "(H, W, channels)"})
        if own.size == 0:
            raise ValueError(f"the relevance of {name} has shape {own.shape}: it is empty")
        if own.ndim == 3 and len(own) in (1, 3) and own.shape[-1] > 4:
            raise ValueError(
                f"the relevance of {name} has shape {own.shape}, which looks like channels first: give "
                "relevance.transpose(1, 2, 0), or its sum over the channels, (H, W)"
            )
        maps[name] = own if own.ndim == 2 else heatmap(own)
        if pixels is not None:
            require_same_size(maps[name], f"the heatmap of {name}", pixels, "photo")
    return Row(label, pixels, maps)


def _of_shape(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Relevance without its batch axis of 1; raises ValueError if it has another shape than its sample."""
    own = values[0] if values.shape == (1, *shape) else values
    if own.shape != shape:
        raise ValueError(
            f"the relevance of {name} has shape {values.shape}, and the sample has {shape}: give both in the same "
            "shape"
        )
    if not np.isfinite(numbers(own, f"the relevance of {name}", {len(shape): str(shape)})).all():
        raise ValueError(f"the relevance of {name} has values that are not finite, NaN or infinite")
    return own
