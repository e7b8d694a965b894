"""What a configured model costs before it is trained: sizes, tokens, FLOPs, memory of its state. Never trains anything."""

from __future__ import annotations

from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError, did_you_mean
from orbit2.grid import named
from orbit2.model.inspect import build, describe, forward_flops

# Dense bf16 matrix peaks per DEVICE, FLOP/s (vendor data sheets); an unlisted device prints n/a, never a guess.
PEAKS = {"mi250x-gcd": 191.5e12, "h100": 989e12, "h200": 989e12, "a100": 312e12}
MEMORY_GB = {"mi250x-gcd": 64, "h100": 80, "h200": 141, "a100": 80}
DEVICES_PER_NODE = 8
STATE_BYTES = {"weights": 4, "gradients": 4, "AdamW moments": 8, "weight average": 4}  # fp32 master copies
BACKWARD = 2  # a backward pass costs about two forward ones


def run(config: RunConfig, *, model: str | None = None, device: str = "cpu", nodes: int = 1) -> str:
    """A text about model `model` (default: all) of a run on `nodes` nodes of 8 `device`s.

    Raises OrbitError for an unknown model or device.
    """
    if model is not None and model not in config.models:
        raise OrbitError("no such model", got=model, allowed=", ".join(config.models), hint=did_you_mean(model, config.models))
    if device != "cpu" and device not in PEAKS:
        raise OrbitError("unknown device", where="--device", got=device, allowed=", ".join(["cpu", *PEAKS]))
    return "\n\n".join(_one(config, name, device, nodes) for name in ([model] if model else config.models))


def _one(config: RunConfig, name: str, device: str, nodes: int) -> str:
    built = build(config, name)
    parameters = sum(p.numel() for p in built.parameters())
    train = config.models[name].train
    lines = [describe(config, name), "memory of the training state (replicated on every rank):"]
    lines += [f"  {part:<18}{parameters * size / 1e9:>9.3f} GB" for part, size in STATE_BYTES.items()]
    state = parameters * sum(STATE_BYTES.values()) / 1e9
    if device == "cpu":
        lines.append(f"  {'total':<18}{state:>9.3f} GB, activations not counted")
    else:
        fits = "fits" if state < MEMORY_GB[device] else "does NOT fit: parameters must be sharded (fsdp)"
        lines.append(f"  {'total':<18}{state:>9.3f} GB of {MEMORY_GB[device]} GB on one {device}, activations not counted: {fits}")
    for key in config.models[name].datasets:
        flops = forward_flops(built, named(config.datasets[key].coarse_grid)) * (1 + BACKWARD)
        total = flops * train.batch_size * train.steps
        lines.append(
            f"{key}: {flops / 1e12:.4f} TFLOP per trained sample, {total / 1e15:.4f} PFLOP for "
            f"{train.steps} steps of {train.batch_size} samples"
        )
        if device != "cpu":
            count = nodes * DEVICES_PER_NODE
            peak = f"{count} {device} ({PEAKS[device] / 1e12:g} TFLOP/s each)"
            lines.append(f"  at the bf16 peak of {peak}: {total / (PEAKS[device] * count):,.2f} s; real runs reach a part of it")
        else:
            lines.append("  time on this CPU: n/a (no peak is assumed); `make demo` measures it")
    return "\n".join(lines)
