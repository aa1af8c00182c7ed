"""Masks, which tell the steps of a sequence that count. Keras keeps a tensor's mask as an attribute of the tensor.

A mask is part of the forward pass: Keras gives it to each layer that takes one, and each layer that knows masks
gives its output one. Relevance does not go to masks; on the way back they are constants.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.reading import at_inference, wrappers
from rap_keras.engine.reading.calls import Call, Ref, map_leaves

Masks = Sequence[Any]
"""The mask of each of several tensors; None for a tensor without one."""


def of(tensor: Any) -> Any:
    """The mask of a tensor or a symbolic tensor; None if it has none."""
    return getattr(tensor, "_keras_mask", None)


def put_on(tensors: Sequence[tf.Tensor], masks: Masks) -> None:
    """Gives tensors their masks, as `of` finds them."""
    for tensor, mask in zip(tensors, masks):
        tensor._keras_mask = mask


def may_begin(call: Call) -> bool:
    """Whether the outputs of a call may have a mask where its inputs have none."""
    given = bool(call.masks) or call.kwargs.get("mask") is not None
    return given or any(map(_makes_masks, getattr(call.layer, "_flatten_layers", list)()))


def any_may_begin(calls: Iterable[Call]) -> bool:
    """Whether a mask may begin at one of the calls, or in front of it."""
    return any(may_begin(part) for call in calls for part in (*call.before, call))


def _makes_masks(layer: Any) -> bool:
    if isinstance(layer, (keras.layers.Masking, WithMask)) or getattr(layer, "mask_zero", False):
        return True
    known = keras_graph.is_of_keras(layer) or isinstance(layer, wrappers.HELPERS)
    return not known and not _is_default(getattr(layer, "mask_from", layer.compute_mask))


def given_only(node: keras_graph.Node) -> set[int]:
    """The ids of a node's tensors that are only masks: boolean ones, and those a layer of Keras takes as masks."""
    found = {id(x) for x in node.inputs if keras_graph.dtype(x).is_bool}
    if keras_graph.is_operation(node.layer) or not keras_graph.is_of_keras(node.layer) or len(node.inputs) < 2:
        return found
    given: list[Any] = []
    others: list[Any] = []
    for name, value in arguments(node.layer, node.args, node.kwargs).items():
        map_leaves(value, (given if name.endswith("mask") else others).append)
    return found.union(map(id, given)) - set(map(id, others))


def arguments(layer: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by their names in the layer's `call`, the inputs first."""
    return dict(at_inference.bound(layer, args, kwargs).arguments)


def bound(call: Call, values: Mapping[int, tf.Tensor], masks: Mapping[int, Any]) -> Call:
    """The call with its masks as constants: those that it is given, and those that Keras gives it.

    Args:
        call: the call.
        values: tensors by number. A mask that is missing here, since the call is tried alone, is left out.
        masks: the masks of tensors by number.
    """
    args, kwargs = map_leaves(
        (call.args, call.kwargs),
        lambda a: values.get(a.number) if isinstance(a, Ref) and a.number in call.masks else a,
    )
    if not keras_graph.is_operation(call.layer):
        kwargs = with_masks(
            call.layer, args, kwargs, lambda a: masks.get(a.number) if isinstance(a, Ref) else None
        )
    return replace(call, args=args, kwargs=kwargs, masks=(), held=tuple(map(masks.get, call.inputs)))


def with_masks(layer: Any, args: tuple, kwargs: dict[str, Any], mask_of: Any) -> dict[str, Any]:
    """The keyword arguments of a call, and the masks that Keras adds to them.

    Keras 2 fills `mask` from the first argument. Keras 3 does so if that is the only tensor; if there are several
    it fills `x_mask` from each argument `x`.

    Args:
        layer: the layer.
        args: positional arguments.
        kwargs: keyword arguments.
        mask_of: gives the mask of a tensor among these; None if it has none.
    """
    given = at_inference.bound(layer, args, kwargs)
    call = given.signature
    named = dict(given.arguments)
    first = next(iter(named))
    free: set[str]
    if keras_graph.KERAS_3:
        free = {name for name in call.parameters if named.get(name) is None}
        tensors = [name for name, value in named.items() if _has_tensor(value)]
        sources = {"mask": first} if tensors == [first] else {f"{name}_mask": name for name in tensors}
    else:
        any_name = any(p.kind is p.VAR_KEYWORD for p in call.parameters.values())
        free = {"mask"} if (any_name or "mask" in call.parameters) and not _is_given(given, "mask") else set()
        sources = {"mask": first}
    found = {to: map_leaves(named[name], mask_of) for to, name in sources.items() if to in free}
    return {**kwargs, **{to: mask for to, mask in found.items() if _any(mask)}}


def given_to_compute(node: keras_graph.Node) -> tuple[Any, Any]:
    """The arguments of `compute_mask` of a layer for one of its uses: its first argument, and the mask of that."""
    return _first_and_mask(node.layer, node.args, node.kwargs)


def _first_and_mask(layer: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    named = arguments(layer, args, kwargs)
    first = next(iter(named.values()))
    mask = named.get("mask")
    return first, map_leaves(first, of) if mask is None else mask


def with_symbols(
    node: keras_graph.Node, masks: Mapping[int, Any], second_of: Mapping[int, tuple[int, ...]]
) -> tuple[keras_graph.Node, dict[int, tuple[int, ...]]]:
    """The node of a layer of Keras 3 with symbolic masks, on its inputs and among its arguments.

    Args:
        node: the node.
        masks: the masks of its inputs by the id of the input. Their symbols follow the inputs of the new node.
        second_of: other shapes of tensors by their ids; returned with those of the new node's inputs.
    """
    twins: dict[int, Any] = {}
    second = dict(second_of)
    for tensor in node.inputs:
        if id(tensor) in masks and id(tensor) not in twins:
            mask = masks[id(tensor)]
            twin = twins[id(tensor)] = keras.KerasTensor(tensor.shape, tensor.dtype)
            twin._keras_mask = keras.KerasTensor((tensor.shape[0], *mask.shape[1:]), mask.dtype.name)
            if id(tensor) in second:
                second[id(twin)] = second[id(tensor)]
                second[id(of(twin))] = (second[id(tensor)][0], *mask.shape[1:])
    symbols = {id(twin): of(twin) for twin in twins.values()}
    args, kwargs = map_leaves((node.args, node.kwargs), lambda a: twins.get(id(a), a))
    kwargs = with_masks(node.layer, args, kwargs, lambda a: symbols.get(id(a)))
    inputs = [*(twins.get(id(tensor), tensor) for tensor in node.inputs), *symbols.values()]
    return node._replace(args=args, kwargs=kwargs, inputs=inputs), second


def of_outputs(call: Call, xs: Sequence[tf.Tensor], ys: Sequence[tf.Tensor]) -> Masks:
    """The masks that Keras gives the outputs `ys` of a call with inputs `xs`; the call's own masks are bound."""
    layer, args, kwargs = call.filled(list(xs))
    found = [of(y) for y in ys]
    if not tf.compat.v1.executing_eagerly_outside_functions():
        # Keras 2 then copies an input that a layer returns as it is.
        found = [None if any(y is x for x in xs) else mask for y, mask in zip(ys, found)]
    if keras_graph.is_operation(layer) or not _hands_on(layer) or all(mask is not None for mask in found):
        return found
    made = layer.compute_mask(*_first_and_mask(layer, args, kwargs))
    each = [] if made is None else tf.nest.flatten(made)
    found = [new if own is None else own for own, new in zip_longest(found, each[: len(found)])]
    put_on(ys, found)
    return found


def kept(call: Call, of_output: Any) -> Call:
    """A bound Masking that zeroes the steps of its mask whatever its inputs; any other call as it is."""
    if type(call.layer).call is not keras.layers.Masking.call or of_output is None:
        return call

    def zeroed(x: tf.Tensor) -> tf.Tensor:
        return x * tf.cast(of_output, x.dtype)[..., None]

    return replace(call, layer=keras_graph.twin(call.layer, call=zeroed), kwargs={})


class MaskOf(keras.layers.Layer):
    """A tensor's mask as a tensor."""

    def call(self, x: tf.Tensor, mask: Any = None) -> Any:
        """The mask, which Keras fills in."""
        return mask


class WithMask(keras.layers.Layer):
    """A tensor with a mask that it is given."""

    def call(self, x: tf.Tensor, mask: Any = None) -> tf.Tensor:
        """A copy of x that has the mask."""
        y = tf.identity(x)
        y._keras_mask = mask
        return y


class MaskedAs(keras.layers.Layer):
    """Output number `place` of a layer that was taken apart, with the mask that the layer itself would give it."""

    def __init__(self, layer: Any, place: int) -> None:
        super().__init__(autocast=False)
        self.mask_from, self._place = layer.compute_mask, place

    def call(self, y: tf.Tensor, first: Any, mask: Any) -> tf.Tensor:
        """Returns y as it is if it has a mask; else it gets that made from the layer's first argument."""
        if of(y) is not None:
            return y
        made = self.mask_from(first, mask)
        return WithMask.call(self, y, None if made is None else tf.nest.flatten(made)[self._place])


def _hands_on(layer: Any) -> bool:
    in_graph = not tf.compat.v1.executing_eagerly_outside_functions()
    return bool(layer.supports_masking) or (in_graph and not _is_default(layer.compute_mask))


def _is_default(method: Any) -> bool:
    return bool(getattr(method, "_is_default", False))


def _is_given(given: inspect.BoundArguments, name: str) -> bool:
    return name in given.arguments or name in given.kwargs


def _has_tensor(argument: Any) -> bool:
    found: list[Any] = []
    map_leaves(argument, found.append)
    return any(isinstance(part, Ref) or hasattr(part, "shape") for part in found)


def _any(mask: Any) -> bool:
    found: list[Any] = []
    map_leaves(mask, found.append)
    return any(part is not None for part in found)
