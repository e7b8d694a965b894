"""The model card: what a model was trained on, how it scored on its validation block, how to load it, what it cannot do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbit2.config.files import FilesConfig
from orbit2.config.sources import SYNTHETIC, SourcesConfig, synthetic, traits
from orbit2.files import write_text
from orbit2.model.build import TITLES, Downscaling
from orbit2.model.site import said
from orbit2.provenance import code_version
from orbit2.sources.catalogue import source
from orbit2.sources.files import facts as facts_of_files
from orbit2.train import noise_scale
from orbit2.variables import variable

LICENCE = "The weights and the code that reads them: MIT. The data they were trained on keep their own terms:"
LOAD = """```python
import orbit2
import xarray as xr

model = orbit2.load_model("model")  # this folder
fine = model.downscale(xr.open_dataset("coarse.nc"))
fine.to_netcdf("fine.nc")
```"""


def write_card(path: Path, model: Downscaling, about: Mapping[str, Any], curve: Path) -> None:
    """Write card.md from facts of the run only. `about` is what config.json says, `curve` the run's metrics.jsonl."""
    config, parameters = model.config, sum(p.numel() for p in model.parameters())
    lines = [
        f"# {about['name']}",
        "",
        f"{TITLES[config.kind]} downscaling model, refinement {config.refinement}x, {parameters:,} parameters.",
        f"Trained by orbit2 {code_version()} in {about['training_seconds']:.0f} s: {about['steps']} steps, batch {about['batch_size']}, "
        f"seed {about['seed']}, {about['precision']}.",
        f"Weights started from: {about['origin']}.",
        "",
        "## Data",
        "",
    ]
    if about.get("tiles"):
        lines.insert(4, f"Trained on tiles (coarse cells): {about['tiles']}.")
    if about.get("region"):
        lines.insert(4, f"Regional: south, north, west, east = {about['region']} degrees.")
    for name, data in about["datasets"].items():
        lines.append(f"- `{name}` ({', '.join(sources_of(data))}), {data['coarse_grid']} to {data['fine_grid']}: {_years(data['split'])}.")
        if data.get("finer_than_source"):
            lines.append("  Its grids may be finer than the source's own: neighbouring cells then repeat, without fine structure to learn.")
        if data["split"].get("gap_days") is not None:
            lines.append(f"  Its blocks of time may be as close as {data['split']['gap_days']:g} days (set by hand).")
    lines += remembered(about.get("site_memory") or {}) + noise_scale.told(about)
    lines += ["", "## Variables", "", "| role | variable | units |", "|---|---|---|"]
    for role, names in (("input", model.inputs), ("output", model.outputs), ("fine static", model.statics)):
        lines += [f"| {role} | `{name}` | {variable(name).units} |" for name in names]
    lines += [
        "",
        "## Validation",
        "",
        ("Fair CRPS of members over the mean absolute error" if config.noise.channels else "RMSE over the RMSE")
        + f" of {config.interpolation} interpolation of the same inputs (validation block, network space: z-scores, and "
        "ln(1 + mm) for precipitation; below 1 is better" + ("; without the site memory" if about.get("site_memory") else "") + "):",
        "",
        *_validated(about, curve),
        "",
        "## Limits",
        "",
        *([f"- **{SYNTHETIC}.** It has learned nothing about weather."] if synthetic(trained_on(about["datasets"])) else []),
        "- Scores above come from the validation block, which chose the weights; the report has the test block.",
        "- Trained for the resolutions, seasons and regions listed above; elsewhere it extrapolates.",
        "- The spread of members knows the training climate and data like its own: not a biased input, another climate, or tails beyond "
        "99.9 % that few samples showed. The prediction without noise is for previews: the mean of members is better."
        if config.noise.channels else "- Deterministic: it gives a conditional mean, too smooth for extremes.",
        "",
        "## Licence",
        "",
        about.get("weights_licence", LICENCE),
        "",
        *(f"- {credit}" for credit in credits(about["datasets"])),
        "",
        "## How to load",
        "",
        "The file may have names, units and latitude order of its own. `pip install` orbit2 first.",
        "",
        LOAD,
        "",
    ]
    write_text(path, "\n".join(lines))


def remembered(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the card says of the site memory; nothing of a model that was trained without."""
    if not told:
        return []
    lines = ["", "## Site memory", "",
             "What the network gets wrong in single cells again and again, learned from its training block after training and added to its",
             "predictions on that very grid (or a window of it), as far as it helped on the validation block. On any other grid it is off.",
             "It is made of truths: whatever counts as training data for the weights counts so for it.", ""]  # fmt: skip
    for name, entry in told.items():
        learned, judged = (f"{entry[count]} samples, {entry[when][0]} to {entry[when][1]}"
                           for count, when in (("samples", "period"), ("judged_samples", "judged_on")))  # fmt: skip
        lines.append(f"- `{name}`, {entry['grid']}: learned from {learned}; judged on {judged}: {said(entry)}.")
    return lines


def _validated(about: Mapping[str, Any], curve: Path) -> list[str]:
    """The table of the weights that were kept, with their tails where they were chosen by them."""
    found = scores(curve, about["best_step"])
    if "tails" not in about:
        return ["| variable | ratio |", "|---|---|", *(f"| `{name}` | {value:.3f} |" for name, value in found.items())]
    tails = scores(curve, about["best_step"], "validation_tail_ratio")
    return ["| variable | ratio | of max(x, 99 % quantile) |", "|---|---|---|",
            *(f"| `{name}` | {value:.3f} | {tails.get(name, math.nan):.3f} |" for name, value in found.items()), "",
            "The weights were chosen by the mean of both columns; `tails` in config.json has the quantiles (training truth)."]  # fmt: skip


def scores(curve: Path, step: int, key: str = "validation_ratio") -> dict[str, float]:
    """Validation ratios per output at `step` of a metrics.jsonl; empty when none were written there."""
    found: dict[str, float] = {}
    for line in curve.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record.get(key) and record["step"] == step:
            found = record[key]
    return found


def sources_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Sources of a dataset's fields, the outputs' first."""
    own = ("coarse_files",) if data["source"] == "files" and (data.get("files") or {}).get("coarse") else ()
    return tuple(dict.fromkeys((data["source"], *own, *data.get("input_sources", {}))))


def trained_on(datasets: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Sources of these datasets, each once."""
    return tuple(dict.fromkeys(name for data in datasets.values() for name in sources_of(data)))


def credits(datasets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence per source of these datasets, static fields included: licence and attribution."""
    own = [facts_of_files(name, FilesConfig.model_validate(data["files"])) for data in datasets.values() if data.get("files")
           for name in sources_of(data) if traits(name).adopted]  # fmt: skip
    named = [name for name in (*trained_on(datasets), "static") if not traits(name).adopted]
    facts = [*own, *(source(name, SourcesConfig()).facts for name in named)]
    return list(dict.fromkeys(f"{fact.title} ({fact.licence}): {fact.attribution}" for fact in facts))


def _years(split: Mapping[str, Any]) -> str:
    blocks = ("train", "validation", "test")
    return ", ".join(f"{name} {split[name]['start']} to {split[name]['end']}" for name in blocks if split.get(name))
