"""Work of a whole run, stage by stage, as plan tells it: for whoever shares it out over a cluster's jobs (orbit2/nodehours.py).

    python -m orbit2.plan.hours < {"run": ..., "device": ..., "nodes": {model: count}}        the same as JSON
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from orbit2.config.comparisons import predictions
from orbit2.config.schema import RunConfig
from orbit2.model.inspect import build
from orbit2.plan.estimate import prediction, training
from orbit2.plan.machine import machine
from orbit2.plan.stages import works


def seconds(config: RunConfig, device: str, nodes: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """stage -> name -> seconds: of a training on its `nodes` and of a prediction on one node of the clock, of one job of any other
    stage in core time. What cannot be told is left out. Raises OrbitError for an unknown device."""
    built = {name: build(config, name) for name in config.models}
    node = machine(device, nodes=1)
    found: dict[str, dict[str, float]] = {"train": {}, "downscale": {}}
    for name, one in built.items():
        if config.models[name].imported is not None:
            continue
        model = training(config, name, one, machine(device, nodes=nodes.get(name, 1)), {}, advised=False)
        if model.time.wall is not None:
            found["train"][name] = model.time.wall
    for task, section in predictions(config).items():
        told = prediction(config, task, built[section.model], node)
        if told.time.wall is not None:
            found["downscale"][task] = told.time.wall
    for work in works(config, node, ()):
        if work.core_seconds is not None and work.jobs:
            found.setdefault(work.stage, {})[work.name] = work.core_seconds / work.jobs
    return found


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(seconds(RunConfig.model_validate(asked["run"]), asked["device"], asked["nodes"]), sys.stdout)
