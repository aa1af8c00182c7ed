"""Creates native analyzers by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tensorflow import keras

from rap_keras.engine.checks.requirements import require_model
from rap_keras.engine.rules.weighted import LinearRule, linear_rule
from rap_keras.engine.way_back.composites import is_of_map
from rap_keras.hosts.native import deep_taylor, gradients, lrp_methods
from rap_keras.hosts.native.base import Analyzer
from rap_keras.hosts.native.contrastive_rap import ContrastiveRAP
from rap_keras.hosts.native.epsilon_gamma_box import EpsilonGammaBox
from rap_keras.hosts.native.grad_cam import GradCAM
from rap_keras.hosts.native.integrated_gradients import IntegratedGradients
from rap_keras.hosts.native.pattern_methods import PatternAttribution, PatternNet
from rap_keras.hosts.native.rap import RAP
from rap_keras.hosts.titles import name_method, require_known


def _preset(rule_of_convolutions: Callable, first_flat: bool) -> Callable[..., Analyzer]:
    """A composite of iNNvestigate: LRP-epsilon in Dense layers, LRP-alpha-beta in convolutions."""

    def create(model: keras.Model, epsilon: float = 0.1, **options: Any) -> Analyzer:
        composite: lrp_methods.Composite = [
            (keras.layers.BatchNormalization, lrp_methods.of_positive_inputs),
            *([("first", lrp_methods.flat)] if first_flat else []),
            (keras.layers.Dense, lrp_methods.epsilon(epsilon)),
            ("any", rule_of_convolutions),
        ]
        return lrp_methods.LRP(model, composite, **options)

    return create


def _by_rule(rule: Callable) -> Callable[..., Analyzer]:
    def create(model: keras.Model, **options: Any) -> Analyzer:
        return lrp_methods.LRP(model, rule, **options)

    return create


def _contrastive(create: Callable[..., Analyzer]) -> Callable[..., Analyzer]:
    """The method with the beginning of contrastive RAP."""

    def with_contrast(model: keras.Model, contrast: str = "log_odds", **options: Any) -> Analyzer:
        return create(model, contrast=contrast, **options)

    with_contrast.__wrapped__ = create  # type: ignore[attr-defined]  # whose options it has
    return with_contrast


def _lrp_epsilon(model: keras.Model, epsilon: float = 1e-7, bias: bool = True, **options: Any) -> Analyzer:
    return lrp_methods.LRP(model, lrp_methods.epsilon(epsilon, bias), **options)


def _lrp_gamma(model: keras.Model, gamma: float = 0.25, bias: bool = True, **options: Any) -> Analyzer:
    return lrp_methods.LRP(model, lrp_methods.gamma(gamma, bias), **{**lrp_methods.CANONICAL, **options})


def _lrp_attn(
    model: keras.Model,
    epsilon: float = 1e-6,
    gamma: float | None = None,
    attention: str = "attnlrp",
    **options: Any,
) -> Analyzer:
    """AttnLRP: LRP-epsilon, or with a gamma LRP-gamma at weights and LRP-epsilon at products of two tensors."""
    rule = of_products = linear_rule(lrp_methods.epsilon(epsilon))
    if gamma is not None:
        of_weights = linear_rule(lrp_methods.gamma(gamma))
        rule = LinearRule(
            of_weights.title, lambda step, R: (of_products if step.product else of_weights).back(step, R)
        )
    return lrp_methods.LRP(model, rule, attention=attention, **{**lrp_methods.CANONICAL, **options})


def _lrp_alpha_beta(
    model: keras.Model, alpha: float | None = None, beta: float | None = None, bias: bool = True, **options: Any
) -> Analyzer:
    return lrp_methods.LRP(model, lrp_methods.alpha_beta(alpha, beta, bias), **options)


_ANALYZERS: dict[str, Callable[..., Analyzer]] = {
    "rap": RAP,
    "rap.contrastive": ContrastiveRAP,
    "gradient": gradients.Gradient,
    "input_t_gradient": gradients.InputTimesGradient,
    "integrated_gradients": IntegratedGradients,
    "smoothgrad": gradients.SmoothGrad,
    "guided_backprop": gradients.GuidedBackprop,
    "deconvnet": gradients.Deconvnet,
    "deep_taylor": deep_taylor.DeepTaylor,
    "deep_taylor.bounded": deep_taylor.BoundedDeepTaylor,
    "pattern.net": PatternNet,
    "pattern.attribution": PatternAttribution,
    "lrp": lrp_methods.LRP,
    "lrp.z": _by_rule(lrp_methods.z),
    "lrp.epsilon": _lrp_epsilon,
    "lrp.gamma": _lrp_gamma,
    "lrp.epsilon_gamma_box": EpsilonGammaBox,
    "lrp.attn": _lrp_attn,
    "lrp.w_square": _by_rule(lrp_methods.w_square),
    "lrp.flat": _by_rule(lrp_methods.flat),
    "lrp.alpha_beta": _lrp_alpha_beta,
    "lrp.alpha_1_beta_0": _by_rule(lrp_methods.alpha_beta(1, 0)),
    "lrp.alpha_1_beta_0_IB": _by_rule(lrp_methods.alpha_beta(1, 0, bias=False)),
    "lrp.alpha_2_beta_1": _by_rule(lrp_methods.alpha_beta(2, 1)),
    "lrp.alpha_2_beta_1_IB": _by_rule(lrp_methods.alpha_beta(2, 1, bias=False)),
    "lrp.sequential_preset_a": _preset(lrp_methods.alpha_beta(1, 0), first_flat=False),
    "lrp.sequential_preset_b": _preset(lrp_methods.alpha_beta(2, 1), first_flat=False),
    "lrp.sequential_preset_a_flat": _preset(lrp_methods.alpha_beta(1, 0), first_flat=True),
    "lrp.sequential_preset_b_flat": _preset(lrp_methods.alpha_beta(2, 1), first_flat=True),
    "input_t_gradient.contrastive": _contrastive(gradients.InputTimesGradient),
    "lrp.alpha_1_beta_0.contrastive": _contrastive(_by_rule(lrp_methods.alpha_beta(1, 0))),
    "lrp.alpha_2_beta_1.contrastive": _contrastive(_by_rule(lrp_methods.alpha_beta(2, 1))),
    "grad_cam": GradCAM,
    "grad_cam.contrastive": _contrastive(GradCAM),
    "input": gradients.Input,
    "random": gradients.Random,
}

NAMES = _ANALYZERS.keys()
"""The names of all native methods, including those that are registered later."""

_OURS = frozenset(NAMES)

BY_GRADIENT = tuple(
    name
    for name, create in _ANALYZERS.items()
    if isinstance(create, type) and issubclass(create, (gradients.Gradient, deep_taylor.DeepTaylor))
)
"""The methods that follow the gradient to the input."""

WITHOUT_DEFAULTS = {
    "deep_taylor.bounded": "low=0, high=255",
    "lrp": "rule=rap_keras.hosts.native.lrp_methods.z",
    "lrp.alpha_beta": "alpha=2",
}
"""The methods that need options of their own, each with an example of these."""


def create_analyzer(name: str, model: keras.Model, **options: Any) -> Analyzer:
    """Creates the analyzer of a method, as `innvestigate.create_analyzer` does, without iNNvestigate.

    Examples:
        >>> analyzer = rap_keras.create_analyzer("rap", rap_keras.to_logits(model))
        >>> relevance = analyzer.analyze(x)

    Args:
        name: a method, one of `rap_keras.methods.names()` in the native host, or one that needs options: "lrp",
            "lrp.alpha_beta" or "deep_taylor.bounded".
        model: a functional or Sequential model that ends in logits, see `rap_keras.to_logits`.
        **options: options of the method; every method has `neuron_selection_mode` and `output`.

    Raises:
        ValueError: there is no such method.
        TypeError: the method has no such option, or needs one that is missing; or the model is not a Keras model.
        NotAnalyzeableModelException: the method cannot explain such a model.
    """
    require_known(name, NAMES)
    require_model(model)
    create = _ANALYZERS[name]
    known = _options_of(create)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise TypeError(f"{name} has no option {', '.join(unknown)}: it has {', '.join(known)}")
    missing = [
        option
        for option, parameter in inspect.signature(create).parameters.items()
        if option in known and option not in options and parameter.default is parameter.empty
    ]
    if missing:
        raise TypeError(f"{name} needs the option {', '.join(missing)}")
    analyzer = create(model, **options)
    analyzer.name = name
    return analyzer


def register_method(name: str, title: str | None = None) -> Callable[[Any], Any]:
    """Adds a method of your own, by a decorator of an analyzer's class or of a rule of linear maps.

    From then on the method works by its name in `create_analyzer`, `explain`, the commands (which import the
    module that `--custom-objects` names) and the benchmark, in both hosts, but not in
    `innvestigate.create_analyzer`. A class is a subclass of `rap_keras.Analyzer` with a method `attributions`. A
    rule, as for `LRP`, is a function of the linear map, its input, weights and bias, the relevance of its output,
    and whether its input is never below 0; the method is LRP
    by this rule.

    Examples:
        >>> @rap_keras.register_method("lrp.z_IB", title="LRP z without biases")
        ... def without_biases(linear, x, w, b, R, nonnegative):
        ...     return lrp.z(linear, x, w, 0.0, R)

    Args:
        name: the name of the method.
        title: its name in pictures and tables.

    Raises:
        ValueError: there is such a method already, or the name has a comma or a space.
        TypeError: it decorates something else.
    """
    if not name or set(name) & set(", ") or name in _OURS:
        reason = "is a method of rap_keras" if name in _OURS else "must be a word without commas and spaces"
        raise ValueError(f"the name {name!r} {reason}: give another name")

    def register(method: Any) -> Any:
        if isinstance(method, type) and issubclass(method, Analyzer):
            create: Callable[..., Analyzer] = method
        elif is_of_map(method):
            create = _by_rule(method)
        else:
            raise TypeError(
                f"{method!r} is neither a subclass of rap_keras.Analyzer nor a function of "
                "(linear, x, w, b, R, nonnegative)"
            )
        _ANALYZERS[name] = create
        name_method(name, title or name)
        return method

    return register


def _options_of(create: Callable[..., Analyzer]) -> list[str]:
    """The options of a method: its own, and those that it passes on."""
    own = dict(inspect.signature(create).parameters)
    if own.pop("options", None) is not None:
        own.update(inspect.signature(RAP if create is ContrastiveRAP else Analyzer).parameters)
        kind = inspect.unwrap(create)
        if not isinstance(kind, type) or (issubclass(kind, lrp_methods.LRP) and kind is not lrp_methods.LRP):
            own.update(inspect.signature(lrp_methods.LRP).parameters)
            del own["rule"], own["options"]
    return [name for name in own if name != "model"]
