"""Makes tests/lxt_reference.npz: relevance of a small Vision Transformer by LXT, and of a small network by zennit.

Run it in an environment of its own with torch, lxt 2.1 and zennit 0.5.1 (2025); the tests only read the file.

    python docs/make_lxt_reference.py

The transformer has two blocks with LayerNormalization, multi-head attention, GELU and a class token, in float64.
LXT's relevance is the input times a gradient that its rules change. Names in the file: "vit/weights/NAME" in the
layouts of Keras, "vit/x", "vit/logits", "vit/attnlrp", "vit/cp", "vit/attnlrp_gamma"; "cnn/..." likewise.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

# The packages themselves import transformers and torchvision, which their rules do not need.
for _name in ("zennit", "lxt", "lxt.efficient"):
    _package = types.ModuleType(_name)
    _package.__path__ = importlib.util.find_spec(_name).submodule_search_locations
    sys.modules[_name] = _package

from lxt.efficient.patches import layer_norm_forward
from lxt.efficient.rules import divide_gradient, identity_rule_implicit, stop_gradient
from lxt.efficient.zennit_patches import monkey_patch_zennit
from zennit.composites import EpsilonGammaBox, LayerMapComposite
from zennit.rules import Gamma

SIZE, PATCH, WIDTH, HEADS, HIDDEN, BLOCKS, CLASSES = 6, 2, 8, 2, 12, 2, 3
TOKENS = (SIZE // PATCH) ** 2
FILE = Path(__file__).resolve().parent.parent / "tests" / "lxt_reference.npz"


class Block(torch.nn.Module):
    """A block whose attention has LXT's rules: "attnlrp", or "cp" with constant attention weights."""

    def __init__(self, rules: str) -> None:
        super().__init__()
        self.rules = rules
        self.norm1, self.norm2 = (torch.nn.LayerNorm(WIDTH, eps=1e-3) for _ in range(2))
        self.query, self.key, self.value, self.output = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.mlp1, self.mlp2 = torch.nn.Linear(WIDTH, HIDDEN), torch.nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The tokens behind the block."""
        y = layer_norm_forward(self.norm1, x)
        q, k, v = (
            part(y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        if self.rules == "cp":
            q, k = stop_gradient(q), stop_gradient(k)
        else:
            q, k, v = divide_gradient(q, 4), divide_gradient(k, 4), divide_gradient(v, 2)
        A = torch.softmax(q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5, -1)
        x = x + self.output((A @ v).transpose(1, 2).flatten(2))
        y = self.mlp1(layer_norm_forward(self.norm2, x))
        return x + self.mlp2(identity_rule_implicit(torch.nn.functional.gelu, y))


class ViT(torch.nn.Module):
    """The transformer; the class token and the positions are parameters."""

    def __init__(self, rules: str) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.class_token = torch.nn.Parameter(torch.randn(1, 1, WIDTH))
        self.positions = torch.nn.Parameter(torch.randn(1, TOKENS + 1, WIDTH))
        self.blocks = torch.nn.ModuleList(Block(rules) for _ in range(BLOCKS))
        self.norm, self.head = torch.nn.LayerNorm(WIDTH, eps=1e-3), torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits of images, channels first."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(layer_norm_forward(self.norm, x)[:, 0])


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """The model with normal weights of deviation 0.5; those of normalisation around 1."""
    for name, parameter in sorted(model.named_parameters()):
        values = torch.randn(parameter.shape) * 0.5
        parameter.data = values + 1 if "norm" in name and name.endswith("weight") else values
    return model.eval()


def in_keras(name: str, value: torch.Tensor) -> np.ndarray:
    """A weight in Keras' layout."""
    array = value.detach().numpy()
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def times_gradient(model: torch.nn.Module, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The input times the gradient of the highest logit, channels last, and the logits."""
    x = x.clone().requires_grad_()
    logits = model(x)
    logits.max(1).values.sum().backward()
    return (x * x.grad).detach().numpy().transpose(0, 2, 3, 1), logits.detach().numpy()


def of_transformer() -> dict[str, np.ndarray]:
    """What the file has of the transformer."""
    x = torch.randn(2, 3, SIZE, SIZE)
    first = randomised(ViT("attnlrp"))
    found = {f"weights/{name}": in_keras(name, value) for name, value in first.state_dict().items()}
    found["x"] = x.numpy().transpose(0, 2, 3, 1)
    for rules in ("attnlrp", "cp"):
        model = ViT(rules)
        model.load_state_dict(first.state_dict())
        found[rules], found["logits"] = times_gradient(model, x)
    monkey_patch_zennit()
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    composite = LayerMapComposite([(kinds, Gamma(0.25))])
    composite.register(first)
    found["attnlrp_gamma"], _ = times_gradient(first, x)
    composite.remove()
    return found


def of_convolutions() -> dict[str, np.ndarray]:
    """What the file has of zennit's composite, which runs before LXT changes zennit."""
    x = torch.rand(2, 3, 6, 6)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 2), torch.nn.Tanh(), torch.nn.Flatten(),
        torch.nn.Linear(27, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3),
    )  # fmt: skip
    randomised(model)
    found = {f"weights/{name}": in_keras(name, value) for name, value in model.state_dict().items()}
    # Flatten counts channels first there.
    found["weights/5.weight"] = found["weights/5.weight"].reshape(3, 3, 3, 4).transpose(1, 2, 0, 3).reshape(27, 4)
    composite = EpsilonGammaBox(low=torch.zeros_like(x), high=torch.ones_like(x))
    with composite.context(model) as modified:
        given = x.clone().requires_grad_()
        logits = modified(given)
        highest = torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 1) * logits
        (relevance,) = torch.autograd.grad(logits, given, highest)
    found.update(x=x.numpy().transpose(0, 2, 3, 1), logits=logits.detach().numpy())
    found["epsilon_gamma_box"] = relevance.numpy().transpose(0, 2, 3, 1)
    return found


def main() -> None:
    """Writes the file."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    parts = {"cnn": of_convolutions(), "vit": of_transformer()}
    np.savez_compressed(
        FILE, **{f"{part}/{name}": a for part, found in parts.items() for name, a in found.items()}
    )


if __name__ == "__main__":
    main()
