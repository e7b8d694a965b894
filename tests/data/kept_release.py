"""A tiny store, a model trained on it and what it predicts, kept of each released minor version: later ones must go on opening them.

`python -m tests.data.kept_release` writes tests/data/releases/<minor version>.zip (about 120 kB) with the code that is there. Run once,
before the version is raised; what is there is never written again.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import orbit2
from orbit2.cli import main
from orbit2.files import to_text
from tests.data.tiny_training import Tiny, build

FOLDER = Path(__file__).parent / "releases"
SAMPLES = 2  # whose predictions are kept


def predicted(store: Path, model: Path) -> dict[str, np.ndarray]:
    """Output -> values [time, lat, lon] of the first samples."""
    coarse = orbit2.open(store, side="coarse").isel(time=slice(0, SAMPLES))
    fine = orbit2.load_model(model).downscale(coarse, lazy=False, progress=False)
    return {str(name): np.asarray(field) for name, field in fine.data_vars.items() if field.dims[:1] == ("time",) and field.ndim == 3}


def write(place: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        tiny: Tiny = build(Path(name))
        try:
            main(["train", *tiny.command(tiny.slice(Path(name) / "config.json"), Path(name))])
        except SystemExit as end:
            assert not end.code
        fine = orbit2.open(tiny.store, side="fine").isel(time=slice(0, SAMPLES))
        truth = {str(key): np.asarray(field) for key, field in fine.data_vars.items()}
        values = {"predicted": predicted(tiny.store, Path(name) / "model"), "stored": truth}
        facts = {kind: {key: {"mean": float(np.nanmean(field)), "corner": field[..., ::12, ::24].astype(float).round(6).tolist()}
                        for key, field in fields.items()} for kind, fields in values.items()}  # fmt: skip
        with zipfile.ZipFile(place, "x", zipfile.ZIP_DEFLATED) as archive:
            for folder in (tiny.store, Path(name) / "model"):
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    archive.write(path, path.relative_to(name))
            archive.writestr("facts.json", to_text({"version": orbit2.__version__, **facts}))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER / f"{'.'.join(orbit2.__version__.split('.')[:2])}.zip")
    sys.exit(0)
