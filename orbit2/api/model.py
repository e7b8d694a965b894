"""A trained model in a notebook: downscales lazily under the user's names, scores, shows itself. Computes nothing of its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
import xarray as xr

from orbit2.api import shelf
from orbit2.api.data import Source
from orbit2.downscale.predictor import Downscaler, loaded
from orbit2.errors import OrbitError, one_of
from orbit2.judge.score import score
from orbit2.model import folder as folders
from orbit2.variables import variable

NAMES = ("orbit2", "input")
LIMITS = "A statistical estimate: sharp, plausible and sometimes wrong; beyond the training's climate it is extrapolation."


class Model(Downscaler):
    """A loaded model; `inputs` it reads, `outputs` it makes, `refinement` times finer."""

    def downscale(  # type: ignore[override]
        self, data: Source | xr.Dataset | xr.DataArray, *, lazy: bool = True, progress: bool | None = None, variables: Sequence[str] = (),
        names: Literal["orbit2", "input"] = "orbit2", device: str | None = None, **options: Any,
    ) -> xr.Dataset:  # fmt: skip
        """`data` (a Dataset, a DataArray for a model of one input, or paths, patterns, addresses) on a grid `refinement` times finer.

        `lazy`: computed by dask when values are asked for, a time after the other; else at once. `progress`: a bar (None: on a terminal).
        `variables`: outputs to keep (all). `names`: `input` gives variables the names that they have in `data`. `device`: moves the model
        there first. Other options are those of `orbit2.downscale.Downscaler.downscale`: `static`, `tile`, `halo`, `members`, `seed`,
        `quantiles`, `probability`, `rename`, `accumulated`, `time`, `trim`. Attributes are kept, `history` gets a line.
        Raises OrbitError for inputs that are missing or unusable, and names and options that are none.
        """
        if names not in NAMES:
            raise OrbitError("no such way to name variables", where="names", got=str(names), allowed=", ".join(NAMES),
                             hint='"input" keeps the names of your file')  # fmt: skip
        if device is not None:
            self.to(device)
        made = super().downscale(data, lazy=lazy, progress=progress, **options)
        theirs = {str(name): str(field.attrs["original_name"]) for name, field in made.data_vars.items() if "original_name" in field.attrs}
        if variables:
            made = made[[self._output(name, made, theirs) for name in ([variables] if isinstance(variables, str) else variables)]]
        if names == "input":
            free = {ours: new for ours, new in theirs.items() if ours in made.data_vars and new != ours and new not in made.variables}
            made = made.rename(free)
        return made

    def _output(self, name: str, made: xr.Dataset, theirs: dict[str, str]) -> str:
        """The output that the user calls `name`."""
        found = next((ours for ours, their in theirs.items() if their == name), name)
        if found not in made.data_vars:
            known = [str(each) for each in made.data_vars]
            raise OrbitError("the model does not make it", where="variables", got=str(name), allowed=", ".join(known),
                             hint=one_of(str(name), known))  # fmt: skip
        return found

    def score(self, prediction: Source | xr.Dataset, truth: Source | xr.Dataset) -> pd.DataFrame:
        """RMSE, mean absolute error, bias and correlation of the outputs that both hold, see `orbit2.judge.score`."""
        return score(prediction, truth, self.outputs)

    def _facts(self) -> list[tuple[str, str]]:
        def told(names: Sequence[str]) -> str:
            return ", ".join(f"{name} ({variable(name).units})" for name in names)

        facts = [("inputs", told(self.inputs)), ("outputs", told(self.outputs)), ("finer", f"{self.refinement} times along both sides")]
        try:
            grids = {key: grid.describe() for key, grid in folders.grids(self.about).items()}
        except OrbitError:
            grids = {}
        for key, section in dict(self.about.get("datasets") or {}).items():
            period = (section.get("split") or {}).get("train") or {}
            source = ", ".join(filter(None, (str(section.get("source", "")), *(section.get("input_sources") or {}))))
            when = f", {period['start']} to {period['end']}" if period else ""
            facts.append(("trained on", f"{key} ({source}{when})" + (f": {grids[key]}" if key in grids else "")))
        if self.about.get("region"):
            facts.append(("region", f"south, north, west, east {', '.join(f'{side:g}' for side in self.about['region'])}"))
        members = "yes (members=...)" if self.model.config.kind == "reslim" and self.model.config.noise.channels else "no"
        size = f"{sum(p.numel() for p in self.model.parameters()):,} parameters on {self.device}"
        return [*facts, ("members", members), ("size", size), ("limits", LIMITS)]

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        name = escape(f"{self.about.get('name', 'model')}-{self.about.get('hash', '?')}")
        rows = "".join(f"<tr><th style='text-align:left'>{escape(key)}</th><td style='text-align:left'>{escape(value)}</td></tr>"
                       for key, value in self._facts())  # fmt: skip
        return f"<div><strong>orbit2 model {name}</strong><table>{rows}</table></div>"


def load_model(model: str | Path, device: str | torch.device | None = None, precision: str = "fp32") -> Model:
    """A model folder, or a model by name from the search path (`orbit2 model list`): ORBIT2_MODELS, results/models, published.

    `precision`: fp32, bf16, or auto (bf16 where that is fast). Raises OrbitError for what is no model.
    """
    if not isinstance(model, (str, Path)):
        raise OrbitError("not a model", where="model", got=type(model).__name__,
                         allowed="the path of a model folder, or a name of `orbit2 model list`",
                         hint="`orbit2 model list` shows what there is")  # fmt: skip
    place = Path(model)
    bare = isinstance(model, str) and len(place.parts) == 1 and not place.exists()
    return loaded(Model, shelf.find(str(model)) if bare else place, device, precision)
