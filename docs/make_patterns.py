"""Makes the patterns of the embedded networks that the package ships, in half precision to keep them small.

`python docs/make_patterns.py` uses 2,000 images of the training series.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rap_keras import models, shapes
from rap_keras.patterns import PatternComputer, Patterns

tf.compat.v1.disable_eager_execution()

IMAGES = 2000


def main() -> None:
    """Writes one file for each network."""
    x = shapes.preprocess(shapes.generate(IMAGES, shapes.TRAINING_SEED).images)
    for name in shapes.NETWORKS:
        model = models.to_logits(shapes.load_network(name))
        found = PatternComputer(model).compute(x)
        small = Patterns({key: a.astype(np.float16) for key, a in found.arrays.items()}, found.network)
        small.save(shapes.patterns_path(name))
        print(name, shapes.patterns_path(name).stat().st_size, "bytes")


if __name__ == "__main__":
    main()
