"""The entry point of parts: a month of a prediction through the collectors of both stages. Never leaves half a file behind."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbit2.config.load import read_slice, validate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.metrics import parts as files
from orbit2.metrics.collector import Collector, Settings, gather
from orbit2.metrics.matched import Matched
from orbit2.metrics.months import job_name
from orbit2.progress import counted
from orbit2.provenance import code_version

log = logging.getLogger(__name__)
READING = {"evaluate": "scoring", "diagnose": "diagnosing"}  # what a whole task's line says after its stage


def run(
    *, config: Path, prediction: Path, store: Path, part: str, out: Path, kinds: Sequence[type[Collector]],
    observations: Path | None = None, fits: Path | None = None, parent: Path | None = None, receipt: Path | None = None,
) -> None:  # fmt: skip
    """`run_several` of one part, `out`: its file."""
    run_several(config=config, prediction=prediction, store=store, parts={part: out}, kinds=kinds, observations=observations, fits=fits,
                parent=parent, receipt=receipt)  # fmt: skip


def run_several(
    *, config: Path, prediction: Path, store: Path, parts: Mapping[str, Path], kinds: Sequence[type[Collector]],
    observations: Path | None = None, fits: Path | None = None, parent: Path | None = None, receipt: Path | None = None,
) -> None:  # fmt: skip
    """Write what collectors of `kinds` gather of `parts` of a task (months.plan_parts), each to its file (HDF5), one after the other.

    `config` is the task's slice for parts (JSON), the rest is as for evaluate. A month in which nothing is scored gives an empty part.
    With a `receipt` (JSON), which is written last, a whole part that is newer than all it was made of is kept.
    Raises OrbitError for a part that is no month and no year, and as Matched.
    """
    for part in parts:
        if not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])?(on)?", part):
            raise OrbitError("not a part of a task", where="--part", got=part,
                             allowed="a calendar month or year, e.g. 202603 or 2026, or 202603on",
                             hint="the workflow names the parts; give one of its names")  # fmt: skip
    slice_ = read_slice(config)
    for key in ("task", "downscale", "evaluate", "diagnose"):
        if key not in slice_:
            raise OrbitError("not the configuration of a part", where=config, got=f"no key '{key}'",
                             hint="use the slice that the workflow writes beside the results")
    settings = Settings(validate(EvaluateConfig, slice_["evaluate"], config), validate(DiagnoseConfig, slice_["diagnose"], config))
    matched = Matched(slice_, Path(prediction), Path(store), settings.evaluate.baselines, observations, fits, parent)
    made_of = [Path(config), *(path / "zarr.json" for path in (prediction, store, observations, parent) if path), *([fits] if fits else [])]
    samples = 0
    for part, out in parts.items():
        matched.stream(part)
        samples += len(matched.streamed)
        if receipt is not None and files.current(Path(out), made_of, matched, slice_, settings):
            log.info("part %s was complete before its receipt was lost", part)
            continue
        files.write(Path(out), matched, slice_, settings, filled(kinds, f"part {part}", matched, slice_, settings))
        files.forget_others(Path(out))
    if receipt is not None:
        write_json(receipt, {"part": job_name(list(parts)), "samples": samples, "code_version": code_version()})


def filled(
    kinds: Sequence[type[Collector]], stage: str, matched: Matched, slice_: Mapping[str, Any], settings: Settings,
    folder: Path | None = None,
) -> list[Collector]:  # fmt: skip
    """Collectors of what `matched` streams; of a whole task the sum of the parts in `folder` instead. Raises OrbitError as parts.merge."""
    collectors = [kind(matched, settings, matched.training) for kind in kinds]
    if folder is None:
        total = len(matched.streamed) * len(matched.variables)
        gather(matched, collectors, lambda samples: counted(samples, READING.get(stage, stage), total, "field"))
    else:
        files.merge(folder, matched, slice_, settings, collectors, stage)
    return collectors
