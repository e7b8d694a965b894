"""What the shipped runs of real archives set, by rule: docs/model.md says why."""

from pathlib import Path

import pytest

from orbit2.config.load import load
from orbit2.config.schema import RunConfig

RUNS = Path(__file__).resolve().parents[3] / "config/runs"
REAL = ("daymet_1km", "daymet_pretrain", "era5_18_outputs", "era5_pretrain", "orbit2", "prism_pretrain")  # orbit2: all of the chain


@pytest.fixture(scope="module", params=REAL)
def run(request: pytest.FixtureRequest) -> RunConfig:
    return load(RUNS / f"{request.param}.yaml")


def test_hours_are_told_and_weights_chosen_with_their_tail(run: RunConfig) -> None:
    for name, model in run.models.items():
        eldest = run.models[run.lineage(name)[-1]]  # whose network it has
        hourly = any(run.datasets[key].frequency != "daily" for key in eldest.datasets)
        assert run.architecture_of(name).time_embedding == hourly, name
        assert model.train.choose_by == "error_and_tail"


def test_block_means_are_kept_where_they_are_the_truths_and_nowhere_else(run: RunConfig) -> None:
    """Not where an output's input is another product's, nor in a network that a task holds against one."""
    for name, model in run.models.items():
        own = all(not run.datasets[key].input_sources and set(run.datasets[key].outputs) <= set(run.datasets[key].inputs)
                  for key in model.datasets)  # fmt: skip
        against = any(task.observations is not None and name in run.lineage(task.model) for task in run.downscale.values())
        assert bool(run.architecture_of(name).conserve) == (own and not against), name
        if run.architecture_of(name).conserve:
            assert model.train.precipitation_threshold == 0
