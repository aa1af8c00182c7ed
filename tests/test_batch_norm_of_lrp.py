"""batch_norm="fold" in LRP and deep Taylor, and what happens to a BatchNormalization that stays."""

from __future__ import annotations

import numpy as np
import pytest
from folding import IMAGE, chain, layer_of, samples, scale_and_offset, staying, trained, with_weights_of
from tensorflow.keras import layers

from rap_keras import create_analyzer

pytestmark = pytest.mark.usefixtures("double_precision")

OF_LRP = {
    "lrp.z": {},
    "lrp.epsilon": {"epsilon": 0.01},
    "lrp.alpha_2_beta_1": {},
    "lrp.gamma": {},
    "lrp.epsilon_gamma_box": {},
    "lrp.w_square": {},
    "lrp.sequential_preset_a": {},
    "deep_taylor": {},
    "lrp.alpha_1_beta_0.contrastive": {},
}


@pytest.mark.parametrize("name", OF_LRP)
def test_every_method_of_lrp_folds(name):
    """Behind a convolution, and in front of a Dense layer."""
    conv, dense = (
        layer_of(layers.Conv2D, filters=4, kernel_size=3),
        layers.Dense(5, activation="relu", name="dense"),
    )
    behind, front = layers.BatchNormalization(name="behind"), layers.BatchNormalization(name="front")
    model = trained(chain(IMAGE, conv(), behind, layers.ReLU(), layers.Flatten(), front, dense))
    kernel, bias = model.get_layer("linear").get_weights()
    scale, offset = scale_and_offset(behind)
    W, b = model.get_layer("dense").get_weights()
    before, added = scale_and_offset(front)
    twin = chain(IMAGE, conv(), layers.ReLU(), layers.Flatten(), layers.Dense(5, activation="relu", name="dense"))
    by_hand = with_weights_of(
        model, twin, linear=[kernel * scale, bias * scale + offset], dense=[W * before[:, None], b + added @ W]
    )
    x = samples(model)
    assert by_hand.predict_on_batch(x) == pytest.approx(model.predict_on_batch(x), rel=1e-9, abs=1e-9)
    with staying():
        folded = create_analyzer(name, model, batch_norm="fold", **OF_LRP[name])
    expected = create_analyzer(name, by_hand, **OF_LRP[name]).analyze(x)
    assert folded.analyze(x) == pytest.approx(expected, rel=1e-7, abs=1e-9 * np.abs(expected).max())


def test_one_that_stays_is_a_layer_of_one_weight_for_each_channel():
    stays = layers.BatchNormalization(name="stays")
    conv = layer_of(layers.Conv2D, filters=4, kernel_size=3)
    model = trained(chain(IMAGE, conv(), layers.ReLU(), stays, layers.ReLU()))
    scale, offset = scale_and_offset(stays)
    twin = chain(IMAGE, conv(), layers.ReLU(), layers.DepthwiseConv2D(1, name="stays"), layers.ReLU())
    by_hand = with_weights_of(model, twin, stays=[scale.reshape(1, 1, 4, 1), offset])
    x = samples(model)
    for name in ("lrp.gamma", "lrp.epsilon"):
        with staying("stays"):
            analyzer = create_analyzer(name, model, batch_norm="fold")
        expected = create_analyzer(name, by_hand).analyze(x)
        assert analyzer.analyze(x) == pytest.approx(expected, rel=1e-7, abs=1e-9 * np.abs(expected).max())
    unchanged = create_analyzer("lrp.z", model, batch_norm="identity").analyze(x)
    other = create_analyzer("lrp.z", model).analyze(x)
    assert np.abs(unchanged - other).max() > 1e-6
    with pytest.raises(ValueError, match="batch_norm='folded': must be one of 'innvestigate', 'identity', 'fold'"):
        create_analyzer("lrp.z", model, batch_norm="folded")
