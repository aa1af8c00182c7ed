"""How a figure is drawn: scale, colours and size, the same for every kind of sample."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rap_keras.visualization.colours import SEISMIC, coloured, limit_of, require_opacity


class Style(NamedTuple):
    """How a figure is drawn; `visualization.picture` says what each option means."""

    scale: str = "percentile"
    absolute: bool = False
    overlay: float | None = None
    colormap: str = SEISMIC
    width: float | None = None
    font_size: float = 8

    def checked(self) -> Style:
        """The style itself.

        Raises:
            TypeError: an option has the wrong type.
            ValueError: an option is out of its range.
        """
        limit_of(np.zeros(1), self.scale)
        coloured(np.zeros(1), self.colormap, self.absolute)
        if self.overlay is not None:
            require_opacity(self.overlay, "overlay")
        for name, value in (("width", self.width), ("font_size", self.font_size)):
            if value is not None and not isinstance(value, (int, float, np.number)):
                raise TypeError(f"{name} is {value!r}: it must be a number")
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}: it must be positive and finite")
        return self

    def shown(self, relevance: np.ndarray) -> np.ndarray:
        """The relevance that is drawn, float64: its absolute value where that is wanted."""
        values = np.asarray(relevance, np.float64)
        return np.abs(values) if self.absolute else values

    def limit(self, relevance: np.ndarray) -> float:
        """The absolute relevance that gets the darkest colour."""
        return limit_of(relevance, self.scale)

    def colours(self, relevance: np.ndarray, limit: float) -> np.ndarray:
        """Colours, uint8, (..., 3), of relevance as `shown` gives it."""
        return coloured(np.clip(relevance, -limit, limit) / limit, self.colormap, self.absolute)
