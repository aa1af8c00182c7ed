"""Contrastive RAP: why this class and not that one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.way_back.composites import within
from rap_keras.engine.way_back.propagation import Relevance
from rap_keras.hosts.native.rap import RAP


class ContrastiveRAP(RAP):
    """RAP that distinguishes classes: which pixels speak for the explained class, and which for others.

    RAP's Eq. 6 takes the absolute value of every influence on the class, so its heatmaps of two classes are nearly
    the same. Here relevance begins with a score, s = sum_k a_k z_k over the logits z, and keeps its sign through
    the head of the network: at the last feature map that has places it is x ds/dx, as in Eq. 5. In a network that
    ends in convolution and pooling, that is the input of its last convolution. Below the head Eq. 7 to 10 hold.
    Positive relevance speaks for the class, whatever the sign of its logit.

    Relevance sums to s minus what the head's biases add, which `rap_keras.conservation.check` reports. If the head
    is not piecewise linear, for example because of swish, this includes the effect of its curvature.

    A single output unit counts as the logit z of class 1. With "max_activation" the predicted class is explained:
    s is z for class 1, and -z for class 0. With "index" s is z.

    Source: own work; the signs of Eq. 5 in Nam et al., Relative Attributing Propagation, AAAI 2020; the log-odds
    as in Iwana et al., ICCV Workshops 2019, arXiv 1908.04351.

    Examples:
        >>> analyzer = rap_keras.create_analyzer("rap.contrastive", model, neuron_selection_mode="index")
        >>> why_cat = analyzer.analyze(x, neuron_selection=281)
        >>> why_cat_and_no_dog = analyzer.analyze(x, neuron_selection=281, against=207)

    Args:
        model: as for `rap_keras.RAP`.
        contrast: "log_odds" for the class against what the network would say otherwise: a_c = 1, and the others
            have a_k = -softmax_k over the others. "logit" for the class alone, a_c = 1: for classes that do not
            exclude each other, each with a sigmoid.
        **options: those of `rap_keras.RAP`. With neuron_selection_mode="all", which leaves no other classes,
            contrast must be "logit".

    Raises:
        ValueError: an option has an invalid value; or, in `analyze`, `rules` has a layer of the head.
        RuntimeError: as for `rap_keras.RAP`.
        NotAnalyzeableModelException: as for `rap_keras.RAP`.
        KeyError: as for `rap_keras.RAP`.
    """

    def __init__(self, model: keras.Model, contrast: str = "log_odds", **options: Any) -> None:
        super().__init__(model, **options)
        require_contrast(contrast)
        self._set_contrast(contrast)

    @classmethod
    def _own_options(cls) -> tuple[str, ...]:
        return ("contrast",)

    def propagate(self, tensors: list[tf.Tensor], finish: Callable | None = None) -> Relevance:
        """Relevance within the network, for `tensors` and `finish` as in `rap_keras.RAP.propagate`."""
        found = super().propagate(tensors, finish)
        self._refuse_rules_of_head(found)
        return found

    def _refuse_rules_of_head(self, relevance: Relevance) -> None:
        """Raises ValueError if a user's rule is for layers of the head alone, where it would have no effect."""
        unused = within(self._rules, self.network, self.plan, relevance.head)
        if unused:
            raise ValueError(
                f"rules for {', '.join(unused)}: these layers belong to the network's head "
                f"({', '.join(sorted(relevance.head))}), where contrastive RAP uses signed contributions, so the "
                "rules would have no effect. Leave them out, or use 'rap'"
            )


def require_contrast(value: Any) -> None:
    """Raises ValueError if the contrast of contrastive RAP is None."""
    if value is None:
        raise ValueError("contrast=None: give 'log_odds' or 'logit'; RAP without a contrast is 'rap'")
