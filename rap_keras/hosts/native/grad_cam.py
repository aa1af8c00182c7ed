"""Grad-CAM, which weights the channels of the last feature map that has places."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import checks, keras_graph
from rap_keras.engine.beginning import Beginning, Values, has_places
from rap_keras.engine.calls import Call
from rap_keras.engine.equations.class_activation import class_activation
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.network import as_float
from rap_keras.engine.plan import PlannedCall, plan
from rap_keras.engine.rules.unweighted import unchanged
from rap_keras.hosts.native.base import Analyzer

_REARRANGING = frozenset(
    "reshape transpose permute flip reverse reversev2 roll moveaxis swapaxes gather gatherv2 take depth_to_space "
    "depthtospace space_to_depth spacetodepth".split()
)


class GradCAM(Analyzer):
    """Where the last feature map speaks for a class: coarse, and without the way back through the layers before.

    It begins where contrastive RAP begins, at the last feature map that has places, so comparing the two shows
    what the way back to the pixels adds. In a network that ends in convolution and pooling, that is the input of
    the last convolution. The map is enlarged bilinearly to the size of the image and spread evenly over the
    image's channels, which sum to it.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, arXiv 1610.02391, Eq. 1 and 2.

    Args:
        model: as for `Gradient`, for images (N, H, W, C), or (N, C, H, W) if Keras is set to channels first.
        contrast: the score explained: "logit" for the logit alone, as published, or "log_odds", see
            `rap_keras.ContrastiveRAP`.
        **options: those of every `Analyzer`.

    Raises:
        ValueError: an option has an invalid value.
        NotAnalyzeableModelException: the model takes something other than one image; there is no rule for a layer;
            or, in `analyze`, the last feature map does not show the image's places in their order.
    """

    _reason_for_zeros = "the last feature map does not speak for the class anywhere"

    def __init__(self, model: keras.Model, contrast: str = "logit", **options: Any) -> None:
        super().__init__(model, **options)
        checks.require_choice("contrast", contrast, ("log_odds", "logit"))
        self._set_contrast(contrast)
        if len(self.network.inputs) != 1 or len(self.model.inputs[0].shape) != 4:
            raise NotAnalyzeableModelException(
                "grad_cam enlarges a feature map to an image, but this model takes something other than one "
                "image: use 'rap.contrastive', which takes any input"
            )
        self._plan = plan(self.network, allow_lambda=True)

    def _attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        image = as_float(tensors[0])
        values = self.network.values([image])
        found = self._begin(tensors[1:], self._plan)(self.network, values, Call.run)
        self._require_places_in_order(found, values)
        first = keras.backend.image_data_format() == "channels_first"
        maps = [(values[number], gradient) for number, gradient in found.gradients.items()]
        if first:
            image = tf.transpose(image, [0, 2, 3, 1])
            maps = [(tf.transpose(A, [0, 2, 3, 1]), tf.transpose(g, [0, 2, 3, 1])) for A, g in maps]
        spread = class_activation(maps, image)
        return [tf.transpose(spread, [0, 3, 1, 2]) if first else spread]

    def _require_places_in_order(self, found: Beginning, values: Values) -> None:
        """Refuses a feature map that cannot be laid over the image."""
        if any(values[number].shape.rank != 4 for number in found.tensors):
            raise NotAnalyzeableModelException(
                "grad_cam needs a last feature map of shape (N, H, W, C), but the one in front of this model's "
                "head has another shape: use 'rap.contrastive'"
            )
        for p in self._plan:
            in_front = p.call.name not in found.calls
            if in_front and _may_rearrange(p) and any(has_places(values[number]) for number in p.call.inputs):
                raise NotAnalyzeableModelException(
                    f"grad_cam lays the last feature map over the image, but layer '{p.call.name}' "
                    f"({type(p.call.layer).__name__}) may move its places elsewhere: use 'rap.contrastive', which "
                    "follows them back"
                )


def _may_rearrange(p: PlannedCall) -> bool:
    """Whether places may come out in another order, as they may from a Lambda or a layer with a user's rule."""
    layer = p.call.layer
    if isinstance(layer, (keras.layers.Permute, keras.layers.Reshape)) or (p.own and p.rule is not unchanged):
        return True
    return p.gated is not None or keras_graph.operation_name(layer) in _REARRANGING
