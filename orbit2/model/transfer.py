"""Start a model from another one with other variables or outputs: weights are matched by NAME, and what happened is listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orbit2.errors import OrbitError
from orbit2.model.build import Downscaling


@dataclass(frozen=True)
class Transfer:
    """Names of variables kept, new and dropped, for inputs and outputs."""

    kept: list[str]
    new: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        def show(names: list[str]) -> str:
            return ", ".join(names) or "none"

        return f"kept: {show(self.kept)}; new: {show(self.new)}; dropped: {show(self.dropped)}"


@torch.no_grad()
def transfer(parent: Downscaling, child: Downscaling) -> Transfer:
    """Copy every weight of `parent` that `child` has a place for, variable by variable. Raises OrbitError for another kind of model."""
    if parent.config.kind != child.config.kind:
        raise OrbitError("weights of another kind of model cannot be taken over", where="finetune_from", got=parent.config.kind,
                         allowed=child.config.kind, hint="fine-tune with the parent's kind of model, or train this one from the beginning")
    if child.config.kind == "orbit2" and (parent.inputs, parent.outputs, parent.statics) != (child.inputs, child.outputs, child.statics):
        raise OrbitError("the network of the published weights is fine-tuned on the variables that it was trained on, in their order",
                         where="finetune_from", got=[*child.inputs, *child.outputs], allowed=[*parent.inputs, *parent.outputs],
                         hint="fine-tune on these variables, or train `kind: reslim` on others")  # fmt: skip
    source, target = parent.state_dict(), child.state_dict()
    s2 = parent.config.refinement**2
    block = parent.config.patch**2 * (s2 if parent.config.kind == "reslim" else 1)  # fine cells of a token, per output
    inputs = _pairs(parent.inputs, child.inputs)
    outputs = _pairs(parent.outputs, child.outputs)
    statics = _pairs(parent.statics, child.statics)
    per_input = {"aggregate.weight", "aggregate.missing", "aggregate.bias", "aggregate.embedding", "residual.enter"}
    for name, tensor in target.items():
        if name not in source:
            continue
        old = source[name]
        if parent.config.kind == "orbit2":  # the same variables: every row where it was
            tensor.copy_(old)
        elif name in per_input:
            _rows(tensor, old, inputs, 1)
        elif name == "output_scale":
            known, rows = child.scale_km or (0.0,), tensor.view(-1, len(child.outputs))
            for row, km, dataset in zip(rows, known, child.scale_datasets or ("",) * len(known), strict=True):
                _rows(row, parent.scale_at(km, dataset), outputs, 1)
        elif name.startswith("leave."):  # `leave`, `enter`: unet and conv
            _rows(tensor, old, outputs, 1)
        elif name == "enter.weight":  # [width, fields then validity, 3, 3]
            new_fields, old_fields = tensor.transpose(0, 1), old.transpose(0, 1)
            _rows(new_fields[: len(child.inputs)], old_fields, inputs, 1)
            new_fields[len(child.inputs) :].zero_()  # as long as it is absent, a new variable changes nothing
            _rows(new_fields[len(child.inputs) :], old_fields[len(parent.inputs) :], inputs, 1)
        elif name.startswith("decoder.head."):
            _rows(tensor, old, outputs, block)
        elif name.startswith("residual.leave."):
            _rows(tensor, old, outputs, s2)
        elif name == "decoder.smooth.weight":
            for i, j in outputs:
                _rows(tensor[j], old[i], outputs, 1)
        elif name == "decoder.smooth.bias":
            _rows(tensor, old, outputs, 1)
        elif name == "residual.enter_statics.weight":
            tensor.zero_()
            _rows(tensor.transpose(0, 1), old.transpose(0, 1), statics, s2)
            first, second = len(parent.statics) * s2, len(child.statics) * s2
            _rows(tensor[:, second:].transpose(0, 1), old[:, first:].transpose(0, 1), inputs, 1)
        elif tensor.shape == old.shape:
            tensor.copy_(old)
    child.load_state_dict(target)
    before, after = [*parent.inputs, *parent.outputs], [*child.inputs, *child.outputs]
    return Transfer(
        _unique(n for n in after if n in before), _unique(n for n in after if n not in before), _unique(n for n in before if n not in after)
    )


def _unique(names: object) -> list[str]:
    return list(dict.fromkeys(names))  # type: ignore[call-overload]


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    return [(old.index(name), j) for j, name in enumerate(new) if name in old]


def _rows(target: Tensor, source: Tensor, pairs: Sequence[tuple[int, int]], size: int) -> None:
    """Copy blocks of `size` leading rows from source block i to target block j."""
    for i, j in pairs:
        target[j * size : (j + 1) * size].copy_(source[i * size : (i + 1) * size])
