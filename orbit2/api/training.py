"""Training from a notebook: the workflow itself, started on a run's YAML; and the habits of scikit-learn. Trains nothing by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from orbit2.api.data import Source
from orbit2.api.model import Model, load_model
from orbit2.config import slices
from orbit2.config.load import load
from orbit2.errors import OrbitError, one_of
from orbit2.start import workflow


def train(config: str | Path, model: str | None = None, *, overrides: Sequence[str] = (), profile: str | Path = "local") -> Model:
    """Train the models of a run (its YAML, or the name of one that ships) as `orbit2 run CONFIG train` does, in the current folder; load
    `model` (default: the last one).

    What is there already is not made again; stopped, the same call goes on. `overrides`: `dotted.key=value`, laid over the file.
    `profile`: a name (those that ship, or in ./profiles), or a path. Raises OrbitError for a run that is not valid, and when a stage fails.
    """
    if not isinstance(config, (str, Path)):
        raise OrbitError("not a run", where="config", got=type(config).__name__, allowed="the path of a run's YAML",
                         hint="`orbit2 new` writes one")  # fmt: skip
    run = load(config, overrides)
    name = model or list(run.models)[-1]
    if name not in run.models:
        raise OrbitError("no such model", where=config, got=name, allowed=", ".join(run.models), hint=one_of(name, run.models))
    folder = Path(slices.model_path(run, name))
    if not (folder / "weights.safetensors").is_file():
        target = "finetune" if run.models[name].finetune_from else "train"
        if code := workflow.run(workflow.words(config, target, overrides, profile)):
            raise OrbitError("the workflow did not come to its end", where=config, got=f"exit code {code}",
                             hint="what went wrong stands above; the same call goes on")  # fmt: skip
    return load_model(folder)


class Downscaler:
    """`fit` and `predict`: `orbit2 new` and `orbit2.train` in one, then `Model.downscale`.

    `name` of the run (NAME.yaml is written here), `hours` it may take, `device` it is sized for; `said`: what the files do not say, as the
    flags of `orbit2 new` have it (`accumulated="24h"`, `coarse_day=0`, ...).
    """

    model: Model | None = None

    def __init__(self, name: str, hours: float = 2.0, device: str = "this", **said: Any) -> None:
        self.name, self.hours, self.device, self.said = name, hours, device, said

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What it was made with."""
        return {"name": self.name, "hours": self.hours, "device": self.device, **self.said}

    def set_params(self, **params: Any) -> Downscaler:
        """Change what it was made with, for the next `fit`; None takes back what was said of files. What was fitted stays.

        Raises OrbitError for a name or a value that is none; then nothing has changed.
        """
        from orbit2.start.asking import answers

        own = ("name", "hours", "device")
        said = {key: value for key, value in params.items() if key not in own}
        answers({key: value for key, value in said.items() if value is not None})
        for key in own:
            setattr(self, key, params.get(key, getattr(self, key)))
        self.said = {key: value for key, value in {**self.said, **said}.items() if value is not None}
        return self

    def fit(self, coarse: Source | None, fine: Source) -> Downscaler:
        """Train on files: `coarse` is what the model will be given (None: block means of the truth), `fine` the truth.

        Raises OrbitError as `orbit2 new` does, where NAME.yaml is there already (`orbit2.train` takes it), and when a stage fails.
        """
        from orbit2.plan.machine import machine
        from orbit2.start import own
        from orbit2.start.asking import answers, no_one

        files = {"coarse": _listed(coarse), "fine": _listed(fine), "statics": _listed(self.said.get("statics"))}
        path = own.new(self.name, files, answers(self.said), self.hours, machine(self.device), Path(), no_one, print)
        self.model = train(path)
        return self

    def predict(self, data: Source | xr.Dataset | xr.DataArray, **options: Any) -> xr.Dataset:
        """`Model.downscale`. Raises OrbitError before `fit`."""
        return self._fitted().downscale(data, **options)

    def score(self, data: Source | xr.Dataset | xr.DataArray, truth: Source | xr.Dataset, **options: Any) -> pd.DataFrame:
        """`Model.score` of what it predicts for `data`."""
        return self._fitted().score(self.predict(data, **options), truth)

    def _fitted(self) -> Model:
        if self.model is None:
            raise OrbitError("not fitted yet", where="Downscaler", got=repr(self), hint="call fit(coarse, fine) first")
        return self.model

    def __repr__(self) -> str:
        return f"Downscaler({self.name!r}, hours={self.hours:g}, model={self.model!r})"


def _listed(source: Source | None) -> list[str]:
    if source is None:
        return []
    return [str(source)] if isinstance(source, (str, Path)) else [str(part) for part in source]
