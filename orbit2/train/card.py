"""The model card: what a model was trained on, how it scored on its validation block, how to load it, what it cannot do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbit2.files import write_text
from orbit2.model.reslim import Reslim
from orbit2.provenance import code_version
from orbit2.variables import variable

LICENCES = {
    "sample": "Contains modified Copernicus Climate Change Service information 2026 (ERA5, Hersbach et al. 2020, CC BY 4.0).",
    "era5": "Contains modified Copernicus Climate Change Service information (ERA5, Hersbach et al. 2020, CC BY 4.0).",
}


def write_card(path: Path, model: Reslim, about: Mapping[str, Any], curve: Path) -> None:
    """Write card.md from facts of the run only."""
    best: dict[str, float] = {}
    for line in curve.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record.get("validation_ratio") and record["step"] == about["best_step"]:
            best = record["validation_ratio"]
    lines = [
        f"# {about['name']}",
        "",
        f"Reslim downscaling model, refinement {model.config.refinement}x, {sum(p.numel() for p in model.parameters()):,} parameters.",
        f"Trained by orbit2 {code_version()} in {about['training_seconds']:.0f} s: {about['steps']} steps, batch {about['batch_size']}, "
        f"seed {about['seed']}, {about['precision']}.",
        f"Weights started from: {about['origin']}.",
        "",
        "## Data",
        "",
    ]
    for name, data in about["datasets"].items():
        split = data["split"]
        lines += [
            f"- `{name}` ({data['source']}), {data['coarse_grid']} to {data['fine_grid']}: "
            f"train {split['train']['start']} to {split['train']['end']}, "
            f"validation {split['validation']['start']} to {split['validation']['end']}. {LICENCES.get(data['source'], '')}"
        ]
    lines += ["", "## Variables", "", "| role | variable | units |", "|---|---|---|"]
    for role, names in (("input", model.inputs), ("output", model.outputs), ("fine static", model.statics)):
        lines += [f"| {role} | `{name}` | {variable(name).units} |" for name in names]
    lines += [
        "",
        "## Validation",
        "",
        f"RMSE over the RMSE of {model.config.interpolation} interpolation of the same inputs (validation block; below 1 is better):",
        "",
        "| variable | ratio |",
        "|---|---|",
        *(f"| `{name}` | {value:.3f} |" for name, value in best.items()),
        "",
        "## Limits",
        "",
        "- Scores above come from the validation block, which chose the weights; the report has the test block.",
        "- Trained for the resolutions, seasons and regions listed above; elsewhere it extrapolates.",
        "- Deterministic: it gives a conditional mean, too smooth for extremes.",
        "",
        "## How to load",
        "",
        "```python",
        "import orbit2, xarray",
        'model = orbit2.load_model("model")',
        'fine = model.downscale(xarray.open_dataset("coarse.nc"))',
        "```",
        "",
    ]
    if about.get("region"):
        lines.insert(4, f"Regional: south, north, west, east = {about['region']} degrees.")
    write_text(path, "\n".join(lines))
