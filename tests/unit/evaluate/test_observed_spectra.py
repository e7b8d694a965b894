"""A product of 0.1 degree is scored on its own cells: no spectrum goes below what it has observed (evaluation.md fact 10)."""

import numpy as np
import pytest

from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.evaluate.paper import PaperScores
from orbit2.evaluate.spectra import Spectra
from orbit2.grid import uniform
from orbit2.metrics import paper
from orbit2.metrics.collector import Settings, gather
from orbit2.metrics.matched import Matched
from tests.data import scored as make

NAME = "precipitation_rate"
BOX = {"box": [31.0, 39.0, 241.0, 259.0]}
COARSE, OBSERVED = uniform(30, 40, 240, 260, 40, 80), uniform(30, 40, 240, 260, 100, 200)
TIMES = np.datetime64("2026-03-30T18:00:00", "s") + np.arange(2) * np.timedelta64(1, "D")


def rain(grid, sample, finest):
    """Waves down to `finest` degrees, all of one amplitude."""
    generator, field = np.random.default_rng(sample), np.full(grid.shape, 60.0)
    for length in np.geomspace(5, finest, 24):
        angle, phase = generator.uniform(0, 2 * np.pi, 2)
        field += np.cos(2 * np.pi / length * (np.cos(angle) * grid.lon[None] + np.sin(angle) * grid.lat[:, None]) + phase)
    return field.astype(np.float32)[None]


def stored(path, coarse, fine, values):
    nothing = np.empty((0, *coarse.shape), dtype=np.float32)
    sides = [SideSpec(grid, names, (), nothing if grid is coarse else np.empty((0, *fine.shape), dtype=np.float32))
             for grid, names in ((coarse, (NAME,) if values[0] is not None else ()), (fine, (NAME,)))]  # fmt: skip
    initialise(path, *sides, TIMES, shard=len(TIMES), attributes={"source": "imerg"})
    empty = np.empty((len(TIMES), 0, *coarse.shape), dtype=np.float32)
    write_part(path, 0, empty if values[0] is None else values[0], values[1])
    finalise(path)
    return PairStore(path)


def test_no_spectrum_goes_below_what_was_observed(tmp_path):
    fine = COARSE.refine(4)  # 0.0625 degree
    both = [np.stack([rain(grid, i, 0.5) for i in range(2)]) for grid in (COARSE, fine)]
    store = stored(tmp_path / "pairs.zarr", COARSE, fine, both)
    observed = None, np.stack([rain(OBSERVED, i, 0.5) for i in range(2)])
    seen = stored(tmp_path / "observations.zarr", OBSERVED.coarsen(2), OBSERVED, observed)
    chequered = 20.0 * (-1) ** np.add.outer(np.arange(fine.shape[0]), np.arange(fine.shape[1]))
    prediction = make.make_prediction(tmp_path / "p.zarr", store, names=(NAME,),
                                      field=lambda s, side, i, name: s.read("fine", i)[0] + chequered)  # fmt: skip
    slice_ = {"task": "test", "downscale": {"model": "reslim", "dataset": "imerg", "split": "test", "input": "coarse"}}
    chosen = EvaluateConfig(spectra_boxes=BOX, spectra_bands=((30.0, 40.0),), baselines=["bilinear"])
    matched = Matched(slice_, prediction, store.path, chosen.baselines, seen.path)
    spectra = Spectra(matched, Settings(chosen, DiagnoseConfig()))
    published = PaperScores(matched, Settings(chosen, DiagnoseConfig()))
    gather(matched, [spectra, published])
    seen_here = [paper.scores(s.models["reslim"], s.truth, np.cos(np.radians(OBSERVED.lat))[:, None], dry=0.25, quantise=False)
                 for s in matched.samples()]  # fmt: skip
    assert published.statistics[NAME, "reslim"].finalise() == pytest.approx(np.mean(seen_here, axis=0))  # on the scored grid too
    assert matched.grid.shape == OBSERVED.shape
    curves = spectra.datasets()["spectra.nc"]
    band = curves.wavelength_km.sel(band="30N-40N").values
    degree = np.pi / 180 * 6371
    middle = np.average(np.cos(np.radians(OBSERVED.lat)), weights=OBSERVED.lat_weights)
    assert np.nanmin(band) == pytest.approx(2 * 0.1 * degree * middle)  # two cells of 0.1 degree, not of 0.0625
    assert 1 / np.nanmax(curves.k.values) >= 2 * 0.1 * degree * 0.99
    table = matched.table("standard")
    spectra.rows(table, "standard")
    rows = {(row["region"], row["metric"]): row["value"] for row in table.rows if row["model"] == "reslim" and row["space"] == "physical"}
    assert rows["box", "coherent_resolution_km"] < 60
    power = curves.radial_power.sel(field=NAME, box="box")
    at = np.argmin(np.abs(1 / curves.k.values[0] - 100))
    assert power.sel(model="reslim").values[at] == pytest.approx(power.sel(model="truth").values[at], rel=0.1)
    assert np.nansum(power.sel(model="reslim").values) < 1.3 * np.nansum(power.sel(model="truth").values)  # the chequers are averaged away
