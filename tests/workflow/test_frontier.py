"""What profiles/frontier plans: the whole ORBIT-2 chain as one DAG, a task per device, nodes as `orbit2 plan` finds them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from tests.workflow.conftest import WHOLE, work


@pytest.fixture(scope="module")
def chain(shared_project: Any) -> set[tuple[str, str]]:
    """(job, job that needs it) of the run that profiles/frontier names; jobs carry their source, dataset, model or task, not their part."""
    graph = shared_project("--dag", "dot", "--", "all", profile="frontier").stdout
    labels = dict(re.findall(r'(\d+)\[label = "([^"]+)"', graph))
    links = re.findall(r"(\d+) -> (\d+)", graph)
    needs: dict[str, list[str]] = {}
    for first, second in links:
        needs.setdefault(second, []).append(first)

    @cache
    def wildcard(number: str, kind: str) -> str | None:
        """The drawing leaves out what a job has in common with one that it needs."""
        found = re.search(rf"{kind}: ([a-z0-9_]+)", labels[number])
        return found[1] if found else next((v for n in needs.get(number, ()) if (v := wildcard(n, kind))), None)

    def name(number: str) -> str:
        rule = labels[number].partition("\\n")[0]
        kind = {"retrieve": "source", "regrid": "data", "statistics": "data", "train": "model", "finetune": "model"}.get(rule.split("_")[0])
        kind = "task" if rule.endswith("_task") or rule == "evaluate_part" else "data" if rule == "evaluate_fit" else kind
        return f"{rule}[{wildcard(number, kind)}]" if kind else rule

    names = {number: name(number) for number in labels}
    return {(names[first], names[second]) for first, second in links}


def test_frontier_runs_the_orbit2_chain_as_one_dag(chain: set[tuple[str, str]]) -> None:
    """Every edge, from the providers to the page."""
    pretraining = {"era5_622km": ["era5"], "era5_112km": ["era5"], "prism_16km": ["prism"], "daymet_16km": ["daymet"]}
    trained = {**pretraining, "us_28km": ["daymet", "era5"]}
    datasets = {**trained, "era5_28km": ["era5"], "imerg_daily": ["imerg"]}
    tasks = {**{name: ("foundation", name) for name in pretraining}, "us_7km": ("us_finetune", "us_28km"),
             "global_7km": ("us_finetune", "era5_28km")}
    # the truth on its own grid, and other products of observations
    observed = {"prism_16km": ("daymet_16km", "imerg_daily"), "daymet_16km": ("prism_16km", "imerg_daily"),
                "us_7km": ("prism_16km", "imerg_daily"), "global_7km": ("imerg_daily", "prism_16km", "daymet_16km")}
    models = {"foundation": "train_model[foundation]", "us_finetune": "finetune_model[us_finetune]"}
    expected = {("train_model[foundation]", "finetune_model[us_finetune]"), ("evaluate_merge", "report_page"),
                ("diagnose_merge", "report_page"), ("report_page", "all")}
    for name, sources in datasets.items():
        for source in (*sources, "static"):
            expected |= {(f"retrieve_source[{source}]", f"regrid_{step}[{name}]") for step in ("init", "part")}
        expected |= {(f"regrid_init[{name}]", f"regrid_part[{name}]"), (f"regrid_part[{name}]", f"regrid_finalise[{name}]")}
    for name in trained:
        trainer = models["foundation" if name in pretraining else "us_finetune"]
        expected |= {(f"regrid_finalise[{name}]", f"statistics_dataset[{name}]"), (f"statistics_dataset[{name}]", trainer),
                     (f"regrid_finalise[{name}]", trainer), (f"regrid_finalise[{name}]", f"evaluate_fit[{name}]")}
    parent = "downscale_task[us_7km_parent]"  # the foundation model where the fine-tuned one is
    expected |= {(models["foundation"], parent), ("regrid_finalise[us_28km]", parent)}
    for task, (model, dataset) in tasks.items():
        expected |= {(models[model], f"downscale_task[{task}]"), (f"regrid_finalise[{dataset}]", f"downscale_task[{task}]")}
        expected |= {(f"evaluate_part[{task}]", f"{stage}_task[{task}]") for stage in ("evaluate", "diagnose")}
        for scores in (f"{stage}_{step}[{task}]" for stage, step in (("evaluate", "part"), ("evaluate", "task"), ("diagnose", "task"))):
            expected.add((f"downscale_task[{task}]", scores))
            if dataset in trained:
                expected.add((f"evaluate_fit[{dataset}]", scores))
            if task == "us_7km":
                expected.add((parent, scores))
            expected |= {(f"regrid_finalise[{name}]", scores) for name in observed.get(task, ())}
            if scores.startswith(("evaluate_task", "diagnose_task")):
                expected.add((scores, f"{scores.split('_')[0]}_merge"))
    assert chain == expected


LARGE = ("--configfile", "config/config.yaml", "--config", 'set=["models.reslim.train.batch_size=256"]')  # samples of a step


@pytest.mark.slow
def test_frontier_starts_one_task_per_device_without_torchrun(shared_project: Any) -> None:
    """On the nodes that plan finds for the profile's device: here one is enough."""
    printed = shared_project.text("-n", "-p", "train", *LARGE, profile="frontier")
    line = next(line for line in printed.splitlines() if "orbit2 train" in line)
    assert ("srun --kill-on-bad-exit=1 --nodes=1 --ntasks=8 --ntasks-per-node=8 --cpus-per-task=7 --gpus-per-task=1 --gpu-bind=closest "
            "orbit2 train") in line
    assert "--wall-minutes 110 " in f"{line} "  # of the queue's 120
    assert "torchrun" not in line and re.search(r"^reslim: 1 node\(s\) of mi250x-gcd, about [\d.,]+ h", printed, flags=re.MULTILINE)
    assert re.search(r"^  regrid_part +3 in 1 SLURM job +0\.0$", printed, flags=re.MULTILINE)  # node-hours, by orbit2/nodehours.py
    assert re.search(r"^  train_model +1 in 1 SLURM job +\d+\.\d$", printed, flags=re.MULTILINE)
    assert work(shared_project.planned("all", "--configfile", "config/config.yaml", profile="frontier")) == WHOLE


@pytest.mark.slow
def test_nodes_of_training_follow_the_time_that_the_profile_gives(shared_project: Any) -> None:
    """Half of one job of a minute: too little for the one node that is enough above. A number in the profile is taken as it is."""
    given = [f"train_model:{key}" for key in ("mpi=srun", "device=mi250x-gcd", "tasks_per_node=8", "runtime=1", "slices=1")]
    hurried = ("-n", "-p", "train", *LARGE, "--set-resources", *given)
    assert "srun --kill-on-bad-exit=1 --nodes=2 --ntasks=16 " in shared_project.text(*hurried, profile="frontier")
    said = shared_project.text(*hurried, "train_model:nodes=3", profile="frontier")
    assert "srun --kill-on-bad-exit=1 --nodes=3 --ntasks=24 " in said and "of mi250x-gcd" not in said
