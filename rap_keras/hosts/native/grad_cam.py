"""Grad-CAM, which weights the channels of the last feature map that has places."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.checks import requirements
from rap_keras.engine.equations.class_activation import class_activation
from rap_keras.engine.equations.numerics import transposed
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import as_float
from rap_keras.engine.rules.rule import Tensors
from rap_keras.engine.rules.unweighted import unchanged
from rap_keras.engine.way_back.beginning import Values, has_places
from rap_keras.engine.way_back.plan import PlannedCall, plan
from rap_keras.hosts.native.base import Analyzer

_REARRANGING = frozenset(
    "reshape transpose permute flip reverse reversev2 roll moveaxis swapaxes gather gatherv2 take depth_to_space "
    "depthtospace space_to_depth spacetodepth".split()
)


class GradCAM(Analyzer):
    """Where the last feature map speaks for a class: coarse, and without the way back through the layers before.

    It begins where contrastive RAP begins, at the last feature map that has places, so comparing the two shows
    what the way back to the pixels adds. In a network that ends in convolution and pooling, that is the input of
    the last convolution. The positive part of the map is enlarged bilinearly to the size of the image and spread
    evenly over the image's channels, which sum to it.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, arXiv 1610.02391, Eq. 1 and 2.

    Args:
        model: as for `Gradient`, for images (N, H, W, C), or (N, C, H, W) if Keras is set to channels first.
        contrast: the score explained: "logit" for the logit alone, as published, or "log_odds", see
            `rap_keras.ContrastiveRAP`.
        layer: the name of the layer whose output is the feature map, such as "block5_conv3"; a layer in a nested
            model is "model/layer", the second use of a layer "layer#2". None for the map described above.
        **options: those of every `Analyzer`.

    Raises:
        ValueError: an option has an invalid value.
        KeyError: `layer` is not one of the network's layers; the message lists these.
        NotAnalyzeableModelException: the model takes something other than one image; there is no rule for a layer;
            or, in `analyze`, the last feature map does not show the image's places in their order.
    """

    _reason_for_zeros = "the last feature map does not speak for the class anywhere"

    def __init__(
        self, model: keras.Model, contrast: str = "logit", layer: str | None = None, **options: Any
    ) -> None:
        super().__init__(model, **options)
        requirements.require_choice("contrast", contrast, ("log_odds", "logit"))
        self._set_contrast(contrast)
        if len(self.network.inputs) != 1 or len(self.model.inputs[0].shape) != 4:
            raise NotAnalyzeableModelException(
                "grad_cam enlarges a feature map to an image, but this model takes something other than one "
                "image: use 'rap.contrastive', which takes any input"
            )
        self._plan = plan(self.network, allow_lambda=True)
        self._layer = layer
        if layer is not None:
            requirements.require_layers([layer], [call.name for call in self.network.calls])

    def attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """The enlarged map."""
        image = as_float(tensors[0])
        values = self.network.values([image])
        if self._layer is None:
            gradients = self._begin(tensors[1:], self._plan)(self.network, values, Call.run).gradients
        else:
            gradients = self._gradients_at(self._layer, image, values, tensors[1:])
        self._require_places_in_order(gradients, values)
        first = keras.backend.image_data_format() == "channels_first"
        maps = [(values[number], gradient) for number, gradient in gradients.items()]
        if first:
            image = tf.transpose(image, [0, 2, 3, 1])
            maps = [(tf.transpose(A, [0, 2, 3, 1]), tf.transpose(g, [0, 2, 3, 1])) for A, g in maps]
        spread = class_activation(maps, image)
        return [tf.transpose(spread, [0, 3, 1, 2]) if first else spread]

    def _gradients_at(
        self, layer: str, image: tf.Tensor, values: Values, positions: Tensors
    ) -> dict[int, tf.Tensor]:
        """The gradient of the score at the output of a layer, by the number of the tensor."""
        (numbers,) = (call.outputs for call in self.network.calls if call.name == layer)

        def output(*given: tf.Tensor) -> tf.Tensor:
            return self.network.values([image], dict(zip(numbers, given)))[self.network.outputs[0]]

        maps = [values[number] for number in numbers]
        return dict(zip(numbers, transposed(output, maps, lambda y: self._score_weights(y, positions))))

    def _require_places_in_order(self, maps: Collection[int], values: Values) -> None:
        """Refuses a feature map that cannot be laid over the image."""
        if any(values[n].shape.rank != 4 or (self._layer and not has_places(values[n])) for n in maps):
            of = "the one in front of this model's head" if self._layer is None else f"that of '{self._layer}'"
            shown = [p.call.name for p in self._plan if any(has_places(values[x]) for x in p.call.outputs)]
            raise NotAnalyzeableModelException(
                f"grad_cam needs a feature map of shape (N, H, W, C), but {of} has another shape: use "
                f"'rap.contrastive', or choose one by layer=, of {', '.join(shown) or 'which there is none'}"
            )
        in_front: set[int] = set(maps)
        for p in reversed(self._plan):
            if in_front.isdisjoint(p.call.outputs):
                continue
            in_front.update(p.call.inputs)
            if _may_rearrange(p) and any(has_places(values[number]) for number in p.call.inputs):
                raise NotAnalyzeableModelException(
                    f"grad_cam lays the last feature map over the image, but layer '{p.call.name}' "
                    f"({type(p.call.layer).__name__}) may move its places elsewhere: use 'rap.contrastive', which "
                    "follows them back"
                )


def _may_rearrange(p: PlannedCall) -> bool:
    """Whether places may come out in another order, as they may from a Lambda or a layer with a user's rule."""
    layer = p.call.layer
    if isinstance(layer, (keras.layers.Permute, keras.layers.Reshape)) or (
        p.kind.own and p.kind.rule is not unchanged
    ):
        return True
    gated = p.kind.mixes and not p.kind.linears
    return gated or keras_graph.operation_name(layer) in _REARRANGING
