"""RAP without iNNvestigate."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.conservation import Check, checking, excesses
from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.equations.attn_lrp import unchanged_softmax
from rap_keras.engine.equations.shares import sum_shares
from rap_keras.engine.keras_graph import input_names
from rap_keras.engine.rules.weighted import rules_of_rap
from rap_keras.engine.way_back import attention_plan, input_bounds
from rap_keras.engine.way_back.composites import UserRules, closed_by, linear_rules, pairs, split
from rap_keras.engine.way_back.input_bounds import InputRule
from rap_keras.engine.way_back.plan import plan
from rap_keras.engine.way_back.propagation import Rules
from rap_keras.hosts import storage
from rap_keras.hosts.native.base import numbered
from rap_keras.hosts.native.layerwise import Layerwise
from rap_keras.models.foreign_files import naming


class RAP(Layerwise):
    """Relative Attributing Propagation: which pixels are relevant to a decision, and which irrelevant.

    Relevance starts as the selected logit and goes back layer by layer; its sum stays the logit. Positive
    relevance marks what the decision rests on, negative what matters least to it. Source: Nam et al.,
    Relative Attributing Propagation, AAAI 2020, arXiv 1904.00605.

    Examples:
        >>> model = rap_keras.to_logits(model)
        >>> analyzer = rap_keras.RAP(model)
        >>> relevance = analyzer.analyze(x)   # shaped as x; its sum over channels is the heatmap

    Args:
        model: a functional or Sequential Keras model that ends in logits, see `rap_keras.to_logits`. It is only
            read: no layer of it is called or changed.
        variant: "paper" for the equations of the paper, "reference" for the authors' program: in convolutions
            negative relevance follows the negative contributions, and Add and average pooling share in proportion
            to signed instead of absolute values. The two correlate at 0.98 or more on VGG-16; with residual
            connections "paper" is far better.
        batch_norm: "identity" passes relevance through BatchNormalization unchanged, as the authors' program
            does; "fold" first makes it part of the convolution or Dense layer before it, where that is exact.
        input_rule: the lowest and highest input value, which the rule of the first layer (z^B, Eq. 10) needs.
            "auto": for colour photos, which are inputs (N, H, W, 2 to 4 channels), the minimum and maximum of
            each sample; no z^B elsewhere, where 0 mostly means "nothing": series, vectors, volumes, films,
            images of one channel. (low, high): numbers or one value per channel, in units of the model's input,
            for example black and white of grey photos; `analyze` refuses samples outside them. None: no z^B; the
            first layer uses the rule of inner layers. For several inputs give one of these for each, as a dict
            by name or as a list.
        attention: "constant" takes attention weights as constant factors, so that the values get all relevance, as
            Ali et al. 2022 do; "attnlrp" gives half of it to the weights, from which it goes on to the query and
            the key, as in Achtibat et al. 2024. It passes the softmax unchanged, unlike there, so that its sum
            stays. See docs/native_methods.md.
        rules: rules for single layers by name (as in `analyze_layers`), instead of those of their kind; see
            `rap_keras.register_rule` for what a rule is. Or a composite: pairs of a condition and a rule, as for
            LRP, see `rap_keras.hosts.native.lrp_methods.LRP`. Or one rule for all layers.
        output: the output to explain, by its name in `model.output_names` or its number, if the model has several.
        neuron_selection_mode: "max_activation", "index" (give `neuron_selection` to `analyze`) or "all".
        allow_lambda_layers: pass relevance through Lambda layers: unchanged, moved, or shared in proportion to
            |x|, by the first rule that keeps its sum on random numbers. `rap_keras.influence.check` checks whether
            relevance lies where the input has an influence.
        disable_model_checks: accept a model that ends in a softmax, log-softmax or sigmoid.

    Attributes:
        network: the model's layer calls.
        plan: what is known of them.
        rules: their rules.
        variant: as above.

    Warns:
        UserWarning: given bounds end at a layer whose rule is the user's own, or no layer uses them.

    Raises:
        RuntimeError: the model was built with eager execution on and it is off now, or the other way round.
        NotAnalyzeableModelException: the model ends in a softmax, log-softmax or sigmoid, has several outputs and
            none is chosen, or has Lambda layers without permission, weights of half precision, or layers without a
            rule.
        ValueError: an option has an invalid value.
        KeyError: `rules` names a layer that is not in the network.
    """

    def __init__(
        self,
        model: keras.Model,
        variant: str = "paper",
        batch_norm: str = "identity",
        input_rule: InputRule = "auto",
        rules: UserRules = None,
        output: str | int | None = None,
        neuron_selection_mode: str = "max_activation",
        allow_lambda_layers: bool = False,
        disable_model_checks: bool = False,
        attention: str = "constant",
    ) -> None:
        self._with_rules = closed_by(rules)
        super().__init__(model, neuron_selection_mode, output, disable_model_checks)
        requirements.require_choice("variant", variant, ("paper", "reference"))
        requirements.require_choice("batch_norm", batch_norm, ("identity", "fold"))
        requirements.require_choice("attention", attention, attention_plan.CHOICES)
        self.variant = variant
        self._batch_norm = batch_norm
        self._attention = attention
        self._input_rule = input_rule
        self._rules = rules or {}
        self._allow_lambda_layers = allow_lambda_layers
        whole, linear = split(self._rules, self.network)
        inputs = dict(zip(input_names(self._model), self._model.inputs))
        self._input_rules = input_bounds.valid_rules(input_rule, inputs)
        planned = plan(
            self.network,
            bounded_inputs=input_bounds.bounded(self._input_rules, self.network.inputs, self._model.inputs),
            fold_batch_norm=batch_norm == "fold",
            allow_lambda=allow_lambda_layers,
            rules=whole,
        )
        self.plan = attention_plan.with_attention(planned, attention)
        composite = [*linear, *rules_of_rap(variant == "reference")]
        self.rules = Rules(
            linear_rules(composite, self.network, self.plan),
            shares=partial(sum_shares, signed=variant == "reference"),
            reference=variant == "reference",
            softmax=unchanged_softmax,
        )
        self._warn_of_unused_bounds()
        self._checking: Callable[[Samples], Check] | None = None
        self._last = threading.local()

    @property
    def lost_at(self) -> str:
        """The layers that lost relevance in the last `analyze` of this thread, as text; empty where none did."""
        return getattr(self._last, "lost_at", "")

    def _options(self) -> dict[str, Any]:
        own = {"variant": self.variant, "batch_norm": self._batch_norm, "input_rule": self._input_rule}
        return {
            **own,
            **({"attention": self._attention} if self._attention != "constant" else {}),
            **({"rules": sorted(str(condition) for condition, _ in pairs(self._rules))} if self._rules else {}),
            **super()._options(),
        }

    def _warn_of_unused_bounds(self) -> None:
        """Warns if bounds were given but no layer uses them; a layer with a user's rule has been named already."""
        given = any(isinstance(rule, input_bounds.Fixed) for rule in self._input_rules)
        if given and not any(p.kind.own or p.bounded for p in self.plan):
            warnings.warn(
                "the bounds of input_rule are not used: the last weighted layer sees the input itself, or bounds "
                "cannot be followed through a layer in front of the first one. This network has no z^B",
                stacklevel=3,
            )

    def _bounds(self, inputs: list[tf.Tensor]) -> list[Any]:
        return input_bounds.tensors(self._input_rules, inputs)

    def attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Relevance of the inputs, and the sum that it began with, (N,)."""
        relevance = self.propagate(tensors)
        return [*(relevance.tensors[number] for number in relevance.inputs), relevance.amount]

    def _compare_sums(
        self, samples: Samples, outputs: list[np.ndarray], amounts: list[np.ndarray], which: np.ndarray, first: int
    ) -> None:
        """Warns where relevance is lost, and says at which layer."""
        excess = excesses(outputs, amounts[0])
        lost = which[excess[which] > 1]
        if not len(lost):
            return
        self._checking = self._checking or checking(self)
        self._last.lost_at = self._checking(samples).losing()
        worst = lost[excess[lost].argmax()]
        amount = amounts[0][worst]
        missing = amount - sum(array[worst].sum(dtype=float) for array in outputs)
        what = "logit" if self._contrast is None else "score less the part of biases in the head"
        warnings.warn(
            f"the relevance of sample {numbered(lost + first)} does not sum to the {what}: {abs(missing):.3g} of "
            f"{amount:.4g} is {'lost' if missing * amount > 0 else 'added'} at {self.lost_at}. A layer whose "
            "input is zero and whose bias alone speaks has nothing to give relevance to; a rule of yours may lose "
            "it, too",
            stacklevel=5,
        )

    def samples(self, X: Any, neuron_selection: Any = None, against: Any = None) -> Samples:
        """Checks X and the neurons to explain and to compare with, and returns them as samples.

        Raises:
            ValueError: as in `analyze`.
            TypeError: as in `analyze`.
        """
        self._last.lost_at = ""
        samples = super().samples(X, neuron_selection, against)
        input_bounds.require_within(self._input_rules, samples.arrays)
        return samples

    def save_npz(self, fname: str | Path) -> None:
        """Saves the analyzer with its model to a file that `RAP.load_npz` reads, without pickle.

        Raises:
            ValueError: a rule of `rules` is not a function of a module, so it could not be found again.
        """
        options = {name: getattr(self, f"_{name}") for name in (*OPTIONS, *self._own_options())}
        model = {"model_json": self.model.to_json(), "model_weights": self.model.get_weights()}
        storage.save_npz(fname, type(self).__name__, {**model, "variant": self.variant, **options})

    @classmethod
    def load_npz(cls, fname: str | Path) -> RAP:
        """Loads the analyzer that `save_npz` saved, here or in iNNvestigate's plugin, with every option.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file was not written by `RAP.save_npz`, was written by another Keras, or its model
                could do more than calculate.
            ImportError: a rule of `rules` is from a module that the program has not imported.
        """
        class_name, state = storage.load_npz(fname)
        if class_name != cls.__name__:
            raise ValueError(f"{fname} holds an analyzer of class {class_name}, not {cls.__name__}")
        with naming(fname):
            return cls(**options_of(state, cls._own_options()))

    @classmethod
    def _own_options(cls) -> tuple[str, ...]:
        """The options that a subclass adds to those here and that a file keeps."""
        return ()


OPTIONS = (
    "batch_norm",
    "input_rule",
    "rules",
    "neuron_selection_mode",
    "allow_lambda_layers",
    "disable_model_checks",
    "attention",
)


# Options of iNNvestigate's base class for debugging, which do not change relevance.
_DEBUGGING = {
    "reverse_check_finite",
    "reverse_check_min_max_values",
    "reverse_keep_tensors",
    "reverse_reapply_on_copied_layers",
    "reverse_verbose",
}


def options_of(state: dict[str, Any], own_options: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arguments of `RAP` or a subclass, including the model, from a state that either host saved.

    Raises:
        ValueError: the state has an option that this host does not have, and that may change relevance.
    """
    options = ("variant", *OPTIONS, *own_options)
    own = {"model_json", "model_weights", *options}
    others = sorted(
        name for name, value in state.items() if name not in own | _DEBUGGING and value not in (None, False)
    )
    if others:
        raise ValueError(
            f"it has options that only iNNvestigate's analyzer may have ({', '.join(others)}): load it with "
            "innvestigate.analyzer.RAP.load_npz, or create the analyzer again without them"
        )
    model = keras.models.model_from_json(state["model_json"])
    keras_graph.set_weights(model, state["model_weights"])
    return {"model": model, **{name: state[name] for name in options if name in state}}
