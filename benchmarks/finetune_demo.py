"""Fine-tuning on a region against training that region from scratch: same data, same steps, same test frames.

    make demo && .venv/bin/python benchmarks/finetune_demo.py

Prints RMSE / bicubic RMSE on the region's test frames (network space) and exits 1 when fine-tuning is not ahead for every
output. Writes benchmarks/results/finetune_demo.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from orbit2.config import slices
from orbit2.config.load import load
from orbit2.data.dataset import Pairs
from orbit2.data.pairs import PairStore
from orbit2.files import write_json
from orbit2.model import folder
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, Sizes
from orbit2.provenance import code_version
from orbit2.train import run
from orbit2.train.validation import validate_model

ROOT = Path(__file__).resolve().parents[1]


def score(model_folder: Path, store: PairStore, period: dict[str, str]) -> dict[str, float]:
    model, normaliser, about = folder.load(model_folder)
    pairs = Pairs(store, (period["start"], period["end"]), normaliser, model.outputs, about["region"])
    found = validate_model(model, [pairs], None, Mesh(Sizes(), Ranks(0, 1, torch.device("cpu"))))
    assert found is not None  # nobody asks it to stop
    result: dict[str, float] = found["validation_ratio"]
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "config.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "finetune_demo.json")
    arguments = parser.parse_args()
    config = load(arguments.config)
    name = next(key for key, value in config.models.items() if value.finetune_from)
    parent = config.models[name].finetune_from
    assert parent is not None
    dataset = config.models[name].datasets[0]
    data = ROOT / slices.dataset_folder(config, dataset)
    store, test = PairStore(data / "pairs.zarr"), config.datasets[dataset].split.test.model_dump()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in ("fine-tuned", "from scratch"):
            section: dict[str, Any] = slices.whole(config, "model", name)
            if kind == "from scratch":
                section["model"].update(finetune_from=None, architecture=section["architecture"])
            out = Path(temporary) / kind
            write_json(out / "config.json", section)
            run(
                config=out / "config.json",
                stores={dataset: data / "pairs.zarr"},
                statistics={dataset: data / "statistics.json"},
                out=out / "model",
                checkpoints=out / "checkpoints",
                parent=ROOT / slices.model_folder(config, parent) / "model" if kind == "fine-tuned" else None,
            )
            rows[kind] = score(out / "model", store, test)
    steps = config.models[name].train.steps
    print(f"{f'RMSE / bicubic RMSE, {name}, {steps} steps':<44}{'fine-tuned':>12}{'from scratch':>14}")
    for output, value in rows["fine-tuned"].items():
        print(f"{output:<44}{value:>12.4f}{rows['from scratch'][output]:>14.4f}")
    write_json(arguments.out, {"steps": steps, "ratio": rows, "code_version": code_version()})
    return int(any(value >= rows["from scratch"][output] for output, value in rows["fine-tuned"].items()))


if __name__ == "__main__":
    sys.exit(main())
