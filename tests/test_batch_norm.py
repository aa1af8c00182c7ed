"""batch_norm="fold" gives the relevance of the network that results from folding by hand."""

from __future__ import annotations

import numpy as np
import pytest
from folding import IMAGE, chain, check, layer_of, samples, scale_and_offset, trained, with_weights_of
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP

SERIES, VOLUME, VECTOR = (8, 4), (4, 4, 4, 4), (6,)


pytestmark = pytest.mark.usefixtures("double_precision")


def by_output(axes):
    """Scales a kernel along the axes that make its output channels."""

    def scaled(kernel, scale):
        shape = [1] * kernel.ndim
        for axis in axes:
            shape[axis] = kernel.shape[axis]
        return kernel * scale.reshape(shape)

    return scaled


BEFORE = {
    "conv": (IMAGE, layer_of(layers.Conv2D, filters=5, kernel_size=3), (-1,)),
    "conv same, strided": (
        IMAGE,
        layer_of(layers.Conv2D, filters=5, kernel_size=3, strides=2, padding="same"),
        (-1,),
    ),
    "conv in groups": (IMAGE, layer_of(layers.Conv2D, filters=6, kernel_size=3, groups=2), (-1,)),
    "conv 1d causal": (SERIES, layer_of(layers.Conv1D, filters=5, kernel_size=3, padding="causal"), (-1,)),
    "conv 3d": (VOLUME, layer_of(layers.Conv3D, filters=3, kernel_size=2), (-1,)),
    "dense": (VECTOR, layer_of(layers.Dense, units=5), (-1,)),
    "dense on an image": (IMAGE, layer_of(layers.Dense, units=5), (-1,)),
    "depthwise": (IMAGE, layer_of(layers.DepthwiseConv2D, kernel_size=3, depth_multiplier=2), (-2, -1)),
    "depthwise 1d": (SERIES, layer_of(layers.DepthwiseConv1D, kernel_size=3, depth_multiplier=2), (-2, -1)),
    "separable": (IMAGE, layer_of(layers.SeparableConv2D, filters=5, kernel_size=3, depth_multiplier=2), (-1,)),
    "separable 1d": (SERIES, layer_of(layers.SeparableConv1D, filters=5, kernel_size=3), (-1,)),
    "transposed": (IMAGE, layer_of(layers.Conv2DTranspose, filters=5, kernel_size=3, strides=2), (-2,)),
    "transposed 1d": (SERIES, layer_of(layers.Conv1DTranspose, filters=5, kernel_size=3), (-2,)),
    "transposed 3d": (VOLUME, layer_of(layers.Conv3DTranspose, filters=3, kernel_size=2), (-2,)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "variant"), [("conv", "reference"), *((kind, "paper") for kind in BEFORE)])
def test_behind_a_linear_layer(kind, variant):
    shape, make, axes = BEFORE[kind]
    first = layers.Dense(4, activation="relu", name="first")  # so that `linear` is not the input layer
    bn = layers.BatchNormalization(name="bn")
    model = trained(chain(shape, first, make(), bn, layers.ReLU()))
    *inner, kernel, bias = model.get_layer("linear").get_weights()
    scale, offset = scale_and_offset(bn)
    by_hand = with_weights_of(
        model,
        chain(shape, layers.Dense(4, activation="relu", name="first"), make(), layers.ReLU()),
        linear=[*inner, by_output(axes)(kernel, scale), bias * scale + offset],
    )
    check(model, by_hand, variant=variant)


@pytest.mark.parametrize(("scaled", "centred"), [(False, True), (True, False), (False, False)])
def test_without_scale_or_centre_or_bias(scaled, centred):
    conv = layers.Conv2D(5, 3, use_bias=False, name="conv")
    bn = layers.BatchNormalization(scale=scaled, center=centred, name="bn")
    model = trained(chain(IMAGE, conv, bn, layers.Activation("tanh")))
    scale, offset = scale_and_offset(bn)
    by_hand = with_weights_of(
        model,
        chain(IMAGE, layers.Conv2D(5, 3, name="conv"), layers.Activation("tanh")),
        conv=[conv.get_weights()[0] * scale, offset],
    )
    check(model, by_hand)


def in_front_of(make, twin, shape=IMAGE, variant="paper"):
    """Checks BatchNormalization in front of a linear layer `make()`.

    `twin()` is that layer without a bias, followed by `pointwise` if it is separable. The offset becomes the
    linear layer's output for an image of offsets, which is another number at every position.
    """

    def first():
        return layers.Dense(4, activation="relu", name="first")

    bn = layers.BatchNormalization(name="bn")
    model = trained(chain(shape, first(), bn, make(), layers.ReLU()))
    linear = model.get_layer("linear")
    kernel, *rest = linear.get_weights()
    scale, offset = scale_and_offset(bn)
    image, shifted = keras.Input(bn.output.shape[1:]), twin()
    offsets = np.broadcast_to(offset, (1, *bn.output.shape[1:]))
    network_of_offsets = keras.Model(image, shifted(image))
    shifted.set_weights([kernel])
    constant = network_of_offsets.predict_on_batch(offsets)
    last = []
    if len(rest) == 2:
        last = [layers.Conv2D(5, 1, name="pointwise")]
    else:
        constant = constant + rest[0]
    by_hand = with_weights_of(
        model,
        chain(shape, first(), twin(), lambda y: y + constant, *last, layers.ReLU()),
        linear=[by_output((-2,))(kernel, scale)],
        pointwise=rest,
    )
    check(model, by_hand, variant=variant)


IN_FRONT = {
    "conv": (layers.Conv2D, {"filters": 5, "kernel_size": 3}),
    "conv same": (layers.Conv2D, {"filters": 5, "kernel_size": 3, "padding": "same"}),
    "conv strided": (layers.Conv2D, {"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2}),
    "dense on an image": (layers.Dense, {"units": 5}),
    "depthwise": (layers.DepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 2}),
    "depthwise same": (layers.DepthwiseConv2D, {"kernel_size": 3, "padding": "same"}),
}


@pytest.mark.parametrize(
    ("kind", "variant"), [("conv same", "reference"), *((kind, "paper") for kind in IN_FRONT)]
)
def test_in_front_of_a_linear_layer(kind, variant):
    make, options = IN_FRONT[kind]
    in_front_of(
        lambda: make(name="linear", **options),
        lambda: make(name="linear", use_bias=False, **options),
        variant=variant,
    )


def test_in_front_of_a_separable_convolution():
    in_front_of(
        lambda: layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, name="linear"),
        lambda: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False, name="linear"),
    )


def test_in_front_of_a_dense_layer():
    in_front_of(
        lambda: layers.Dense(5, name="linear"),
        lambda: layers.Dense(5, use_bias=False, name="linear"),
        shape=VECTOR,
    )


def test_in_front_of_the_layer_that_sees_the_image():
    bn, conv = layers.BatchNormalization(name="bn"), layers.Conv2D(5, 3, name="conv")
    model = trained(chain(IMAGE, bn, conv, layers.ReLU()))
    kernel, bias = conv.get_weights()
    scale, offset = scale_and_offset(bn)
    by_hand = with_weights_of(
        model,
        chain(IMAGE, layers.Conv2D(5, 3, name="conv"), layers.ReLU()),
        conv=[kernel * scale[:, None], bias + np.einsum("hwio,i->o", kernel, offset)],
    )
    check(model, by_hand)
    check(model, by_hand, input_rule=([-4.0] * 4, [3.0, 4.0, 5.0, 6.0]))
    check(model, by_hand, input_rule=None)


def test_on_both_sides_of_one_layer():
    def first():
        return layers.Conv2D(4, 3, activation="relu", name="first")

    inner, outer = layers.BatchNormalization(name="inner"), layers.BatchNormalization(name="outer")
    conv = layers.Conv2D(5, 3, name="conv")
    model = trained(chain(IMAGE, first(), inner, conv, outer, layers.ReLU()))
    kernel, bias = conv.get_weights()
    (scale1, offset1), (scale2, offset2) = scale_and_offset(inner), scale_and_offset(outer)
    whole = (bias + np.einsum("hwio,i->o", kernel, offset1)) * scale2 + offset2
    by_hand = with_weights_of(
        model,
        chain(IMAGE, first(), layers.Conv2D(5, 3, name="conv"), layers.ReLU()),
        conv=[kernel * scale1[:, None] * scale2, whole],
    )
    check(model, by_hand)


def test_in_front_of_several_layers():
    def network(bn, *branches):
        def middle(y):
            y = bn(y) if bn else y
            return layers.Add(name="add")([layers.ReLU(name=f"relu_{b.name}")(b(y)) for b in branches])

        return chain(IMAGE, layers.Conv2D(4, 3, activation="relu", name="first"), middle)

    def branches():
        return layers.Conv2D(5, 3, name="a"), layers.Conv2D(5, 3, name="b")

    bn = layers.BatchNormalization(name="bn")
    model = trained(network(bn, *branches()))
    scale, offset = scale_and_offset(bn)
    folded = {}
    for name in "ab":
        kernel, bias = model.get_layer(name).get_weights()
        folded[name] = [kernel * scale[:, None], bias + np.einsum("hwio,i->o", kernel, offset)]
    check(model, with_weights_of(model, network(None, *branches()), **folded))


def test_between_two_uses_of_one_layer():
    shared, bn = layers.Conv2D(4, 3, padding="same", name="shared"), layers.BatchNormalization(name="bn")
    model = trained(chain(IMAGE, shared, bn, layers.ReLU(), shared, layers.Activation("tanh")))
    kernel, bias = shared.get_weights()
    scale, offset = scale_and_offset(bn)
    by_hand = with_weights_of(
        model,
        chain(
            IMAGE,
            layers.Conv2D(4, 3, padding="same", name="once"),
            layers.ReLU(),
            layers.Conv2D(4, 3, padding="same", name="again"),
            layers.Activation("tanh"),
        ),
        once=[kernel * scale, bias * scale + offset],
        again=[kernel, bias],
    )
    check(model, by_hand)


def test_one_normalization_behind_two_layers():
    a, b = layers.Dense(5, name="a"), layers.Dense(5, name="b")
    bn = layers.BatchNormalization(name="bn")
    model = trained(chain(VECTOR, a, bn, layers.ReLU(), b, bn, layers.ReLU()))
    scale, offset = scale_and_offset(bn)
    folded = {}
    for name in "ab":
        kernel, bias = model.get_layer(name).get_weights()
        folded[name] = [kernel * scale, bias * scale + offset]
    copies = layers.Dense(5, name="a"), layers.ReLU(), layers.Dense(5, name="b"), layers.ReLU()
    check(model, with_weights_of(model, chain(VECTOR, *copies), **folded))


def test_a_result_that_is_used_twice():
    # Both uses see the folded layer's output, so folding is exact.
    def network(conv, bn):
        def middle(y):
            y = bn(conv(y)) if bn else conv(y)
            return layers.Add(name="add")([layers.ReLU(name="relu")(y), y])

        return chain(IMAGE, layers.Conv2D(4, 3, activation="relu", name="first"), middle)

    conv, bn = layers.Conv2D(5, 3, name="conv"), layers.BatchNormalization(name="bn")
    model = trained(network(conv, bn))
    kernel, bias = conv.get_weights()
    scale, offset = scale_and_offset(bn)
    by_hand = network(layers.Conv2D(5, 3, name="conv"), None)
    check(model, with_weights_of(model, by_hand, conv=[kernel * scale, bias * scale + offset]))


def behind_an_activation():
    return chain(
        IMAGE,
        layers.Conv2D(4, 3, activation="relu", name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.MaxPooling2D(),
    )


def of_a_tensor_used_twice():
    def middle(y):
        y = layers.Conv2D(4, 3, padding="same", name="conv")(y)
        return layers.Add()([layers.ReLU()(layers.BatchNormalization(name="bn")(y)), y])

    return chain(IMAGE, middle)


def over_another_axis():
    return chain(
        IMAGE,
        layers.Conv2D(4, 3, name="conv"),
        layers.BatchNormalization(axis=1, name="bn"),
        layers.ReLU(),
    )


def in_front_of_groups():
    return chain(
        IMAGE,
        layers.Conv2D(4, 3, activation="relu", name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.Conv2D(4, 3, groups=2, name="groups"),
        layers.ReLU(),
    )


def in_front_of_a_layer_and_a_shortcut():
    def middle(y):
        y = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, activation="relu", name="conv")(y))
        return layers.Add()([layers.Conv2D(4, 3, padding="same", name="branch")(y), y])

    return chain(IMAGE, middle)


STAYING = [
    behind_an_activation,
    of_a_tensor_used_twice,
    over_another_axis,
    in_front_of_groups,
    in_front_of_a_layer_and_a_shortcut,
]


@pytest.mark.parametrize("make", STAYING)
def test_where_folding_is_not_exact_the_layer_stays(make):
    model = trained(make())
    check(model, model, stays=["bn"])


def test_the_warning_names_those_that_stay_and_no_others():
    bn1, bn2, bn3 = (layers.BatchNormalization(name=f"bn{i}") for i in (1, 2, 3))
    conv = layers.Conv2D(5, 3, name="conv")
    model = trained(chain(IMAGE, conv, bn1, layers.ReLU(), bn2, layers.MaxPooling2D(), bn3, layers.ReLU()))
    kernel, bias = conv.get_weights()
    scale, offset = scale_and_offset(bn1)
    by_hand = with_weights_of(
        model,
        chain(
            IMAGE,
            layers.Conv2D(5, 3, name="conv"),
            layers.ReLU(),
            layers.BatchNormalization(name="bn2"),
            layers.MaxPooling2D(),
            layers.BatchNormalization(name="bn3"),
            layers.ReLU(),
        ),
        conv=[kernel * scale, bias * scale + offset],
    )
    expected = check(model, by_hand, stays=["bn2", "bn3"])
    # Folding has an effect: without it the relevance differs.
    assert not np.allclose(RAP(model).analyze(samples(model)), expected, rtol=1e-2)
