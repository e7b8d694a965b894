"""Are four ranks one process's run, to rounding? The demo's models trained in one process, in 4 ranks, and in one process once more with a
learning rate moved by a float32's last digit: what only rounding does.

    .venv/bin/python benchmarks/rounding.py [--precision fp32] [--steps 120] [--folder FOLDER]

Prints how far the ranks' run and the moved one are from the first: the loss step by step, and the RMSE on the test frames, where it is
largest. Exits 1 when the ranks' run starts further off than the arithmetic's own rounding (1e-5 of the loss at its first record), or ends
more than ten times as far off as the moved one. Writes benchmarks/results/rounding.json. FOLDER keeps the runs: started again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from demo import ROOT

sys.path.insert(0, str(ROOT))  # tests.workflow.slurm_demo compares such runs already
from orbit2.files import read_json, write_json
from orbit2.provenance import code_version
from tests.workflow.slurm_demo import MESH, SCORED

RESULTS = ROOT / "benchmarks/results/rounding.json"
RUNS = {"base": ("local", ""), "ranks": ("dgx", MESH), "ulp": ("local", "models.reslim.train.learning_rate=2.0000002e-3")}
FIRST, TIMES = 1e-5, 10.0
TABLES = [f"results/demo/evaluate/{task}/metrics.parquet" for task in ("test", "conus")]
SHOWN = (5, 10, 20, 40, 60, 120, 400)


def run(folder: Path, profile: str, keys: list[str]) -> None:
    """Train, fine-tune, predict and score in `folder`."""
    for name in ("workflow", "config", "profiles"):
        if not (folder / name).exists():
            shutil.copytree(ROOT / name, folder / name)
    file = folder / "profiles/dgx/config.yaml"
    file.write_text(file.read_text().replace("--nproc-per-node=gpu", "--nproc-per-node=4"))
    given = ",".join(f'"{key}"' for key in keys if key)
    command = [sys.executable, "-m", "snakemake", "--profile", f"profiles/{profile}", "--cores", "4", "--config", f"set=[{given}]"]
    subprocess.run([*command, "--", *TABLES], cwd=folder, check=True)


def losses(folder: Path, model: str) -> dict[int, float]:
    (file,) = folder.glob(f"results/models/{model}-*/checkpoints/metrics.jsonl")
    return {int(r["step"]): float(r["loss"]) for r in map(json.loads, file.read_text().splitlines()) if "loss" in r}


def errors(folder: Path) -> pd.Series[float]:
    """RMSE of both models on the test frames, by what was scored."""
    table = pd.concat([pd.read_parquet(folder / name) for name in TABLES])
    return table[table["metric"] == "rmse"].set_index(SCORED)["value"].sort_index()


def apart(folder: Path, other: Path) -> dict[str, Any]:
    """Relative differences: of the first model's loss by step, and of the RMSE, the largest and where."""
    ours, theirs = losses(folder, "reslim"), losses(other, "reslim")
    base, also = errors(folder), errors(other)
    found = (base - also).abs() / base.abs()
    worst = dict(zip(base.index.names, found.idxmax(), strict=True))
    return {"loss": {step: abs(ours[step] - theirs[step]) / ours[step] for step in sorted(ours)}, "rmse": float(found.max()),
            "where": {name: worst[name] for name in ("task", "model", "variable", "region")}}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--steps", type=int, default=120, help="of the first model; a third of them of the fine-tuned one")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.folder or Path(temporary)
        keys = [f"models.{model}.train.precision={given.precision}" for model in ("reslim", "conus")]
        keys += [f"models.reslim.train.steps={given.steps}", f"models.conus.train.steps={given.steps // 3}"]
        for name, (profile, key) in RUNS.items():
            run(place / name, profile, [*keys, key])
        found = {name: apart(place / "base", place / name) for name in RUNS if name != "base"}
    for name, told in found.items():
        shown = ", ".join(f"{step}: {off:.0e}" for step, off in told["loss"].items() if step in SHOWN or step == given.steps)
        print(f"{name:6} loss at step {shown}; RMSE {told['rmse']:.1e} ({', '.join(told['where'].values())})")
    first = next(iter(found["ranks"]["loss"].values()))
    holds = first < FIRST and found["ranks"]["rmse"] < TIMES * found["ulp"]["rmse"]
    kept = read_json(RESULTS) if RESULTS.is_file() else {}
    about = {"steps": given.steps, "holds": holds, "code_version": code_version()}
    write_json(RESULTS, {**kept, given.precision: {**found, **about}})
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
