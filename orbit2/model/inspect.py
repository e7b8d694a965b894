"""What a configured model is before it is trained: sizes, rooms, tokens, FLOPs. Allocates nothing (meta device)."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from orbit2.config.schema import RunConfig
from orbit2.grid import Grid, named
from orbit2.model.geometry import Geometry
from orbit2.model.reslim import Reslim


def build(config: RunConfig, name: str) -> Reslim:
    """Model `name` of a run on the meta device."""
    section = config.models[name]
    datasets = [config.datasets[key] for key in section.datasets]
    inputs = tuple(dict.fromkeys(v for d in datasets for v in d.inputs))
    statics = tuple(dict.fromkeys(v for d in datasets for v in d.statics))
    outputs = section.outputs or tuple(dict.fromkeys(v for d in datasets for v in d.outputs))
    with torch.device("meta"):
        return Reslim(config.architecture_of(name), (*inputs, *statics), outputs, statics)


def forward_flops(model: Reslim, grid: Grid) -> int:
    """FLOPs of one forward pass of one sample on `grid` (multiply and add counted apart), by torch's own counter."""
    height, width = grid.shape
    s = model.config.refinement
    with torch.device("meta"):
        coarse = torch.empty(1, len(model.inputs), height, width)
        statics = torch.empty(1, len(model.statics), height * s, width * s)
        geometry = Geometry(torch.empty(1, height), torch.empty(1, width), grid.km, grid.km / s, grid.periodic)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.main(coarse, model.inputs, geometry, None)
            if model.residual.width:
                model.residual.correction(coarse, model.inputs, statics, geometry.periodic)
    return int(counter.get_total_flops())


def describe(config: RunConfig, name: str) -> str:
    """A table of model `name`: parameters per room, tokens and FLOPs on each of its datasets' coarse grids."""
    model = build(config, name)
    total = sum(p.numel() for p in model.parameters())
    lines = [f"model         {name}", f"parameters    {total:,}"]
    lines += [f"  {room:<12}{sum(p.numel() for p in module.parameters()):>14,}" for room, module in model.named_children()]
    for key in config.models[name].datasets:
        grid = named(config.datasets[key].coarse_grid)
        height, width = grid.shape
        tokens = -(-height // model.config.patch) * -(-width // model.config.patch)
        lines.append(
            f"{key}: {height}x{width} -> {height * model.config.refinement}x{width * model.config.refinement}, {tokens:,} tokens, "
            f"{forward_flops(model, grid) / 1e9:,.2f} GFLOP forward per sample"
        )
    return "\n".join(lines)
