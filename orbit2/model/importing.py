"""A published checkpoint becomes a model folder: what its shapes cannot say comes from its YAML and statistics, or is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import yaml

from orbit2.config.imported import TRAINED_TILES
from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError, one_of
from orbit2.files import sha256, short_hash, write_text
from orbit2.model import folder, published_statics
from orbit2.model.build import build
from orbit2.model.published import AIR, SEA, Published
from orbit2.model.published_statics import FLAG, OROGRAPHY, OURS, STATICS
from orbit2.model.published_weights import State, architecture, converted, read
from orbit2.progress import doing
from orbit2.provenance import code_version
from orbit2.units import conversion
from orbit2.variables import Variable, declare, is_precipitation, variable

THRESHOLD = 0.25  # mm in 24 hours: at or below it counts as dry, as in the training
ROWS = (
    Variable("row_latitude", "rlat", "", "degrees_north", "static", "zscore", "Latitude of a row, as read", (-90, 90), parity=-1),
    Variable("landcover_class", "lcc", "", "1", "static", "zscore", "Number of a land cover class, read as a number", (0, 1000)),
)  # fmt: skip
SIZES = {"refinement": "superres_mag", "patch": "patch_size"} | {
    name: name for name in ("cnn_ratio", "embed_dim", "depth", "decoder_depth", "mlp_ratio")
}
LICENCE = (
    "The weights are their publisher's, and so is their licence: orbit2 does not know it. Read it on their page before you pass them on."
)
Statistics = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Told:
    """What the YAML says of one dataset."""

    name: str
    heads: int
    order: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    km: float
    tiles: tuple[int, int] | None  # (tiles along each axis, overlap)
    sizes: Mapping[str, float]


def run(
    checkpoints: Sequence[Path], config: Path, statistics: Path, out: Path, *, statics: Path | None = None,
    output_statistics: Path | None = None, dataset: str | None = None, km: float | None = None, grid: str | None = None, sst: bool = True,
    orography_units: str | None = None,
) -> list[str]:  # fmt: skip
    """Write the model folder `out`; returns lines to be said. Raises OrbitError where files do not fit together or say too little: then
    nothing is written."""
    if (out / "config.json").exists():
        raise OrbitError("a model is already there", where=out, hint="give another folder, or delete it first")
    told, lines = _told(config, dataset, km), []
    doing("reading the checkpoint")
    state, differing, epoch = read(checkpoints)
    if differing:
        lines.append(f"{len(differing)} tensors that all ranks should share differ between the rank files, the first rank's are taken: "
                     f"{', '.join(differing)}")  # fmt: skip
    found = architecture(state, told.heads, told.km, checkpoints[0])
    _fit(found, state, told, config)
    declare(ROWS, out)
    inputs, outputs, fixed = (tuple(OURS.get(name, name) for name in names) for names in (told.inputs, told.outputs, STATICS))
    merged = sst and AIR in inputs
    dynamic = [name for name in inputs if name not in fixed]
    model = build(found, [*dynamic, *([SEA] if merged else []), *fixed], outputs, fixed)
    assert isinstance(model, Published)
    order = [[OURS.get(name, name) for name in told.order].index(name) for name in model.vocabulary]
    moments = _moments(told, _statistics(statistics), merged)
    weights = _scaled(converted(state, found, order), outputs, moments, output_statistics)
    model.load_state_dict({**model.state_dict(), **weights})
    model.output_moments.copy_(torch.tensor([moments[name] for name in outputs]))
    if statics is None:
        fields, factor = None, 1.0 if orography_units is None else conversion(orography_units, OROGRAPHY, FLAG).factor
    else:
        fields, factor = published_statics.read(statics, grid, found.refinement, orography_units)
    moments[OROGRAPHY] = moments[OROGRAPHY][0] * factor, moments[OROGRAPHY][1] * factor  # the z-scores stay the same
    doing("checking sums and writing the model")
    about = _about(checkpoints, config, told, epoch, fields, differing, merged)
    folder.save(
        out, model.eval(), Normaliser(moments, THRESHOLD), about, {} if fields is None else {"published": fields},
        {"card.md": lambda path: write_text(path, _card(about, model, told))},
    )  # fmt: skip
    if fields is None:
        lines.append("no --statics: every prediction needs --static FILE with " + ", ".join(fixed))
        if orography_units is None:
            lines.append(f"the statistics of orography are taken to be of metres; of a geopotential say {FLAG} 'm2 s-2'")
    return lines


def _told(path: Path, dataset: str | None, km: float | None) -> Told:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        model, data, tiling = content["model"], content["data"], content.get("tiling") or {}
        inputs = data["dict_in_variables"]
    except (OSError, yaml.YAMLError) as error:
        raise OrbitError("the checkpoint's configuration cannot be read", where=path, got=" ".join(str(error).split()),
                         hint="give the YAML that the checkpoint was published with") from None  # fmt: skip
    except (KeyError, TypeError) as error:
        raise OrbitError("not the configuration of a published checkpoint", where=path, got=f"no {error}",
                         allowed="sections model and data, with data.dict_in_variables",
                         hint="give the YAML that the checkpoint was published with") from None  # fmt: skip
    names = list(inputs) if isinstance(inputs, dict) else ["data"]
    if dataset is None and len(names) > 1:
        raise OrbitError("the configuration has several datasets: which one were the weights last trained on?", where=path,
                         allowed=", ".join(names), hint="say it with --dataset")  # fmt: skip
    name = dataset or names[0]
    if name not in names:
        raise OrbitError(
            "no such dataset in the configuration", where=path, got=name, allowed=", ".join(names), hint=one_of(name, names)
        )

    def of(section: Mapping[str, Any], key: str, otherwise: str) -> Any:
        value = section.get(key)
        value = value.get(name) if isinstance(value, dict) else value
        if value is None:
            raise OrbitError(
                f"the configuration does not say `{key}`" + (f" of {name}" if section is data else ""), where=path, hint=otherwise
            )
        return value

    add = "add it to a copy of the file: it is not in the checkpoint"
    spacing = km if km is not None else float(of(data, "spatial_resolution", "say it with --km, the spacing of the inputs, e.g. 28"))
    cut = (int(of(tiling, "div", add)), int(of(tiling, "overlap", add))) if tiling.get("do_tiling") else None
    sizes = {ours: float(model[theirs]) for ours, theirs in SIZES.items() if theirs in model}
    order, read_, made = (tuple(map(str, of(data, key, add))) for key in ("default_vars", "dict_in_variables", "dict_out_variables"))
    return Told(name, int(of(model, "num_heads", add)), order, read_, made, spacing, cut, sizes)


def _fit(found: ArchitectureConfig, state: State, told: Told, where: Path) -> None:
    """Raises OrbitError where the YAML's sizes and lists are not those of the weights: loading alone would not notice."""
    for key, value in told.sizes.items():
        if getattr(found, key) != value:
            raise OrbitError(f"the configuration belongs to other weights: {key}", where=where, got=f"{value:g}",
                             allowed=f"{getattr(found, key):g}", hint="give the YAML of these weights")  # fmt: skip
    for what, names, count in (("default_vars", told.order, state["var_embed"].shape[1]),
                               ("dict_out_variables", told.outputs, state["conv_out.weight"].shape[0])):  # fmt: skip
        if len(names) != count or len(set(names)) != count:
            raise OrbitError(f"{what} does not fit the weights", where=where, got=f"{len(names)} names", allowed=f"{count}, each once",
                             hint="give the YAML of these weights, or --dataset of another section")  # fmt: skip
    if state["path2.0.weight"].shape[1] != len(told.outputs) + len(STATICS):
        raise OrbitError("weights of another network", where=where, got=f"{state['path2.0.weight'].shape[1]} fields of the residual path",
                         hint="only networks of the published kind can be imported")  # fmt: skip
    for names, among, what in ((told.inputs, told.order, "default_vars"), ((*STATICS, *told.outputs), told.inputs, "dict_in_variables")):
        for name in names:
            if name not in among:
                raise OrbitError(f"not among {what}", where=where, got=name, allowed=", ".join(among), hint=one_of(name, among))
    if len(set(told.inputs)) != len(told.inputs):
        raise OrbitError("an input is listed twice", where=where, got=", ".join(told.inputs), hint="list each input once")
    for name in told.inputs:
        if name not in STATICS:
            variable(name)


def _statistics(path: Path) -> Statistics:
    """Mean and standard deviation by the published name."""
    try:
        means, spreads = (np.load(path / f"normalize_{kind}.npz", allow_pickle=False) for kind in ("mean", "std"))
        return {name: (float(np.ravel(means[name])[0]), float(np.ravel(spreads[name])[0])) for name in means.files if name in spreads.files}
    except (OSError, ValueError, IndexError) as error:
        raise OrbitError("statistics cannot be read", where=path, got=str(error), allowed="normalize_mean.npz and normalize_std.npz",
                         hint="--statistics DIR names the folder that holds both") from None  # fmt: skip


def _moments(told: Told, known: Statistics, merged: bool) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name in told.inputs:
        if name not in STATICS and is_precipitation(name):
            found[name] = 0.0, 1.0  # ln(1 + mm), not standardised
        elif name not in known or not known[name][1] > 0:
            raise OrbitError("no usable statistics of an input", where="statistics", got=name, allowed=", ".join(sorted(known)),
                             hint="--statistics DIR")  # fmt: skip
        else:
            found[OURS.get(name, name)] = known[name]
    return {**found, SEA: found[AIR]} if merged else found


def _scaled(weights: State, outputs: Sequence[str], moments: Statistics, where: Path | None) -> State:
    """Outputs come in the fine data's z-scores, orbit2 reads them in the input's: the last layers take the difference, exactly."""
    plain = [name for name in outputs if not is_precipitation(name)]
    if plain and where is None:
        raise OrbitError("outputs have statistics of their own (of the fine data)", where="statistics", got=", ".join(plain),
                         hint="give --output-statistics DIR")  # fmt: skip
    for c, name in enumerate(outputs):
        if name in plain and where is not None:
            fine = _statistics(where)
            if name not in fine:
                raise OrbitError("no statistics of an output", where=where, got=name, allowed=", ".join(sorted(fine)),
                                 hint="--output-statistics DIR names the folder of the fine data")  # fmt: skip
            (mean, std), (own, spread) = fine[name], moments[name]
            for key in ("smooth.weight", "smooth.bias", "leave.weight", "leave.bias"):
                weights[key] = weights[key].clone()
                weights[key][c] *= std / spread
            weights["smooth.bias"][c] += (mean - own) / spread
    return weights


def _about(
    checkpoints: Sequence[Path], config: Path, told: Told, epoch: int | None, fields: xr.Dataset | None,
    differing: Sequence[str], merged: bool,
) -> dict[str, Any]:  # fmt: skip
    sums = {path.name: sha256(path) for path in (*checkpoints, config)}
    names = [OURS.get(name, name) for name in STATICS]
    grid = "" if fields is None else f"{fields.sizes['lat']}x{fields.sizes['lon']} cells"
    return {
        "name": checkpoints[0].name.split(".ckpt")[0],
        "hash": short_hash(sums),
        "origin": "imported weights that the ORBIT-2 authors published",
        "weights_licence": LICENCE,
        "imported": {
            "files": sums,
            "dataset": told.name,
            "epoch": epoch,
            "km": told.km,
            "sst_over_sea": merged,
            "differing": list(differing),
        },
        "cell_methods": {name: variable(name).cell_methods for name in told.outputs},
        "statics_from": {
            "published": {"source": "unknown", "relief": None, "fields": names, "fine_grid": grid, "carried": fields is not None}
        },
        **({TRAINED_TILES: {"div": told.tiles[0], "overlap": told.tiles[1]}} if told.tiles else {}),
        "code_version": code_version(),
    }


def _card(about: Mapping[str, Any], model: Published, told: Told) -> str:
    config, facts = model.config, about["imported"]
    dynamic = [name for name in model.inputs if name not in model.statics]
    size = tuple(config.patch * side for side in config.table_shape)
    lines = [
        f"# {about['name']}", "",
        f"Weights that the authors of ORBIT-2 (arXiv 2505.04802) published, imported by orbit2 {about['code_version']}; not trained by it.",
        f"Refinement {config.refinement}x, {sum(p.numel() for p in model.parameters()):,} parameters, a table of positions for inputs of"
        f" {size[0]} x {size[1]} cells, told a spacing of {config.km:g} km, dataset `{told.name}`"
        + (f", epoch {facts['epoch']}." if facts["epoch"] is not None else "."),
        "", "## From", "",
        *(f"- `{name}`, sha256 {digest}" for name, digest in facts["files"].items()),
        *([f"- Ranks disagree on {len(facts['differing'])} tensors, the first one's are here: {', '.join(facts['differing'])}."]
          if facts["differing"] else []),
        "", "## Variables", "", "| role | variable | units |", "|---|---|---|",
        *(f"| {role} | `{name}` | {variable(name).units} |"
          for role, names in (("input", dynamic), ("output", model.outputs), ("static", model.statics))
          for name in names),
        "", "## Limits", "",
        "- What the weights were trained on and how they scored is their publisher's to say; orbit2 has not verified it.",
        "- Convolutions pad with zeros, also at the date line; tiles are not mixed unless asked for.",
        "- Deterministic: it gives a conditional mean, too smooth for extremes.",
        "", "## Licence", "", LICENCE, "",
    ]  # fmt: skip
    return "\n".join(lines)
