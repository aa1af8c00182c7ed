"""Every operation of a method's graph has a kernel for GPUs; the check itself needs no GPU."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.python.framework import kernels

from rap_keras import create_analyzer, shapes, to_logits
from rap_keras.hosts.native import NAMES, lrp_methods
from rap_keras.patterns import PatternComputer

if not any(kernel.device_type == "GPU" for kernel in kernels.get_registered_kernels_for_op("Conv2D").kernel):
    pytest.skip("this build of TensorFlow is for CPUs only", allow_module_level=True)

OPTIONS = {
    "lrp": {"rule": lrp_methods.z},
    "lrp.alpha_beta": {"alpha": 2},
    "deep_taylor.bounded": {"low": -1, "high": 1},
}


# The last layer of what is examined: later blocks are like the earlier ones, up to sizes.
NETWORKS = {
    "VGG16": "block2_pool",
    "ResNet50": "conv3_block2_out",
    "MobileNetV2": "block_5_add",
    "EfficientNetB0": "block3b_add",
}


def beginning_of(name):
    network = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(64, 64, 3))
    y = keras.layers.GlobalAveragePooling2D()(network.get_layer(NETWORKS[name]).output)
    return keras.Model(network.input, keras.layers.Dense(5)(y))


def without_kernel(name, model):
    """Operations on floats that have no kernel for GPUs, nor one for every device."""
    options = dict(OPTIONS.get(name, {}))
    if name.startswith("pattern."):
        x = np.random.default_rng(0).random((2, *model.input_shape[1:]), np.float32)
        options["patterns"] = PatternComputer(model).compute(x)
    analyzer = create_analyzer(name, model, **options)
    if name.startswith("pattern."):
        analyzer.analyze(x)  # makes the variables that hold the patterns
    function = tf.function(lambda *tensors: analyzer.attributions(list(tensors)), autograph=False)
    operations = all_operations(function.get_concrete_function(*analyzer.specs()).graph)
    floats = [op for op in operations if any(t.dtype.is_floating for t in (*op.inputs, *op.outputs))]
    assert len(floats) > 10
    return {op.type for op in floats if not runs_on_gpus(op)}


def all_operations(graph):
    """All operations of a graph and of the loops in it."""
    found = graph.get_operations()
    for op in graph.get_operations():
        if op.type in ("While", "StatelessWhile"):
            found += all_operations(graph._get_function(op.get_attr("body").name).graph)
    return found


def runs_on_gpus(op):
    return any(takes(kernel, op) for kernel in kernels_for_gpus(op.type))


@functools.cache
def kernels_for_gpus(operation):
    found = kernels.get_registered_kernels_for_op(operation).kernel
    return [kernel for kernel in found if kernel.device_type in ("GPU", "DEFAULT")]


def takes(kernel, op):
    """Whether the kernel takes the data types of the operation."""
    for constraint in kernel.constraint:
        given = op.get_attr(constraint.name)
        values = given if isinstance(given, list) else [given]
        allowed = constraint.allowed_values.list
        if isinstance(values[0], bytes):  # text, such as the policy of GatherNd
            fits = set(values) <= set(allowed.s)
        else:
            fits = {t.as_datatype_enum for t in values} <= set(allowed.type)
        if not fits:
            return False
    return True


def test_an_operation_without_a_kernel_is_found():
    @tf.function(autograph=False)
    def eigenvalues(x):
        return tf.linalg.eigvals(x)

    graph = eigenvalues.get_concrete_function(tf.TensorSpec((2, 2), tf.float32)).graph
    assert [op.type for op in graph.get_operations() if not runs_on_gpus(op)] == ["Eig"]


def test_rap_on_an_embedded_network():
    assert without_kernel("rap", to_logits(shapes.load_network("vgg"))) == set()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vgg", "resnet"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("input", "random", "lrp.attn")])
def test_every_method_on_the_embedded_networks(name, network):
    assert without_kernel(name, to_logits(shapes.load_network(network))) == set()


@pytest.mark.parametrize("name", ["rap", "rap.contrastive", "lrp.epsilon", "gradient"])
def test_recurrent_layers_and_attention(name):
    x = keras.Input((6, 4))
    y = keras.layers.LSTM(5, return_sequences=True)(keras.layers.MultiHeadAttention(2, 3)(x, x))
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.GRU(4)(y)))
    assert without_kernel(name, model) == set()


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["rap", "lrp.alpha_1_beta_0"])
def test_deep_networks(name, network):
    assert without_kernel(name, beginning_of(network)) == set()
