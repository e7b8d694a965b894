"""The training loop, readable in one sitting: train and finetune, one process or many, stopped and resumed at any step.

orbit2 train    --config M/config.json --store D/pairs.zarr --statistics D/statistics.json --out M/model
torchrun --nproc-per-node 2 -m orbit2 train ...      # the same steps, the same loss
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from orbit2 import outputs
from orbit2.config.identity import identity
from orbit2.config.load import read_slice, validate
from orbit2.config.schema import ModelConfig
from orbit2.errors import Interrupted, OrbitError, Reached
from orbit2.files import write_json, write_text
from orbit2.model import carried, folder
from orbit2.model.build import Downscaling
from orbit2.model.compiled import keep_graphs, wants_compilation
from orbit2.model.reslim import Reslim
from orbit2.parallel import alike
from orbit2.parallel.launch import heed_job, ranks
from orbit2.parallel.reduce import Fact, agree_on, any_rank
from orbit2.parallel.watch import tick
from orbit2.signals import StopRequest, heed_parent, held_back
from orbit2.timing import NAME, Rate
from orbit2.train import noise_scale, remembered, site
from orbit2.train.build import Setup, prepare
from orbit2.train.card import write_card
from orbit2.train.checkpoint import Checkpoints
from orbit2.train.progress import Progress
from orbit2.train.taken import Taken, read, take
from orbit2.train.timing import Timing
from orbit2.train.validation import choice, validate_model
from orbit2.train.work import fitting_threads

log = logging.getLogger(__name__)
LOG_EVERY = 5
COMPILED = "compiled"  # kernels, beside the checkpoints
MUCH = 0.03  # share of a step without a batch that is said
FIRST_SECONDS = 45.0  # until the first periodic checkpoint of a try: a young run is protected too


def run(
    *, config: Path, stores: Mapping[str, Path], statistics: Mapping[str, Path], out: Path, checkpoints: Path, parent: Path | None = None,
    device: str | None = None, wall_minutes: float = 0.0, rate: Rate | None = None, profile: bool = False,
) -> None:
    """Train (or, with `parent`, fine-tune) the model of a slice file and write its folder to `out`.

    Resumes from the newest complete checkpoint. Raises Interrupted (exit 75) after a signal or at the run's own deadline,
    OrbitError for unusable inputs. `rate` tells data sheets, for the record of where the time went; with `profile` a few
    steps are traced.
    """
    with StopRequest() as stop, ranks(device=device) as here, ExitStack() as held:  # an error of one rank is told to the others
        section = read_slice(config)
        outputs.model(out, section["name"], section["hash"])
        model_config = validate(ModelConfig, section["model"], config)
        kept = Checkpoints(checkpoints, identity(section), model_config.train.keep_checkpoints, model_config.train.checkpoint_background)
        if here.first:
            held.enter_context(kept.alone())
        with Progress(checkpoints, model_config.train.steps, here.first, kept.sure) as progress:
            timing = Timing(checkpoints, here, progress.attempt, {"name": section["name"], "hash": section["hash"]}, rate,
                            progress.say if profile and here.first else None)  # fmt: skip
            progress.say(f"{section['name']}: try {progress.attempt}, opening {', '.join(str(path) for path in stores.values())}")
            agree_on([Fact("the configuration", alike.flat(section), "give all ranks the same --config file")])
            stop.within(model_config.train.wall_minutes, "train.wall_minutes")
            stop.within(wall_minutes, "--wall-minutes")
            heed_job(stop, here)
            prepare(model_config.train, here.device)
            if wants_compilation(model_config.train.compile, here.device):
                keep_graphs(checkpoints / COMPILED)
            setup = Setup(section, model_config, stores, statistics, parent, here)
            with kept.finishing(), timing, fitting_threads(setup):
                train(setup, out, kept, stop, progress, timing)


def train(setup: Setup, out: Path, checkpoints: Checkpoints, stop: StopRequest, progress: Progress, timing: Timing) -> None:
    """Run the steps that remain, then write the model folder from the best validated weights."""
    config, here, clock = setup.config, setup.here, timing.clock
    step, best, seconds, stale, validated = 0, math.inf, 0.0, 0, 0
    found = checkpoints.choose()
    if found is not None:
        checkpoints.read(found, state := setup.state(), setup.convert)
        step, best, seconds, stale, validated = (state["progress"][name] for name in ("step", "best", "seconds", "stale", "validated"))
        setup.restored()
        if math.isfinite(best) and checkpoints.best() is None:
            best, validated = math.inf, -1  # gone or damaged: the next validation makes a new one
    else:
        scales = [setup.model.scale_at(pairs.store.grid("coarse").km, pairs.name) for pairs in setup.training]
        setup.objective.prepare(setup.training, torch.stack(scales), here)

    def unscored() -> bool:
        return validated != step and (step % config.validate_every == 0 or step == config.steps)

    progress.begin(step, not unscored())
    parameters = sum(p.numel() for p in setup.model.parameters())
    start = f"starts at step 0 of {config.steps}; weights from {setup.origin}" if found is None else (
        f"resumes at step {step} of {config.steps}; weights from checkpoint {found.path} (the run began from {setup.origin})"
    )  # fmt: skip
    progress.say(
        f"{setup.section['name']}: try {progress.attempt}, {start}; {parameters / 1e6:.2f} M parameters, "
        f"{sum(len(d.indices) for d in setup.training)} training samples, {here.world} rank(s), {setup.dtype or torch.float32}"
        + (f" ({setup.mesh})" if setup.mesh.split else "") + ("" if setup.cutting is None else f"; {setup.cutting}")
        + (f"; {stop.deadline}" if stop.deadline else "")
    )
    first, began, saved, period = step, time.monotonic(), time.monotonic(), min(FIRST_SECONDS, 60 * config.checkpoint_minutes)

    def save() -> None:
        progress.doing("saving a checkpoint")
        before, spent = clock.lap("saving"), seconds + time.monotonic() - began
        checkpoints.save(setup.state(step=step, best=best, seconds=spent, stale=stale, validated=validated), step)
        timing.write("running")
        clock.lap(before)

    def pause() -> Interrupted:
        reason, asked = stop.reason or "another rank", any_rank(stop.asked)
        clock.lap("saving")
        checkpoints.wait()
        progress.status("resumable", reason=reason)
        timing.write("resumable")
        return Interrupted(f"stopped and saved at step {step} of {config.steps} ({reason}); run the same command to resume",
                           reached=Reached(first, step, config.steps, "steps"), asked=asked)  # fmt: skip

    def score() -> None:
        """Validate, unless a stop comes in between: then `validated` stays behind and a resumed run begins with it."""
        nonlocal best, stale, validated
        progress.doing("validating")
        before, start = clock.lap("validation"), time.monotonic()
        share = -(-config.batch_size // setup.mesh.sizes.readers // config.accumulate)
        with setup.average.swapped():
            found = validate_model(setup.model, setup.validation, setup.dtype, setup.mesh, setup.cutting, samples=config.validate_samples,
                                   size=share, workers=config.workers, stop=stop, remembered=setup.remembered,
                                   tails=setup.tails)  # fmt: skip
        if found is None:
            return
        stop.took("validation", time.monotonic() - start)
        progress.log({"step": step, **found, "seconds": round(timing.earlier + clock.elapsed, 3)})
        judged = choice(found)
        if not math.isfinite(judged):
            raise OrbitError("the validation score is not finite", where=f"step {step}", got=str(judged),
                             hint="check the validation block, or lower train.learning_rate; the last checkpoint is kept")  # fmt: skip
        stale = 0 if judged < best else stale + 1
        if judged < best:
            clock.lap("saving")
            checkpoints.save_best({"model": setup.averaged()}, step)
        best, validated = min(best, judged), step
        clock.lap(before)

    if (step < config.steps or unscored()) and any_rank(bool(stop)):
        if found is None:
            save()
        raise pause()
    if remembered.wanted(setup):
        progress.doing("learning the site memory")
        with setup.average.swapped():
            beside = remembered.prepare(setup, checkpoints.folder, stop)
        if beside is None:
            raise pause()
        progress.say(f"trained beside {site.told(beside.memories)}")
        assert isinstance(setup.model, Reslim)
        setup.remembered = remembered.Remembered(setup.model, beside)
    if unscored():
        score()
        if unscored():
            raise pause()
    loader = torch.utils.data.DataLoader(
        setup.steps, batch_size=None, sampler=range(step, config.steps), num_workers=config.workers, pin_memory=here.device.type == "cuda",
        worker_init_fn=heed_parent,
    )  # fmt: skip
    with held_back():
        batches = iter(loader)
    timing.begins(setup, step)
    clock.heard = tick
    taken: list[Taken] = []
    waiting, _ = time.monotonic(), clock.lap("waiting")
    since, waited, every = waiting, 0.0, reads_every(here.device)

    def look() -> None:
        """Read the steps since the last look: before a validation and a save always, so that nothing bad is kept."""
        nonlocal since, waited
        if not taken:
            return
        record, count = read(taken)[-1], len(taken)
        taken.clear()
        each = max(time.monotonic() - since, 1e-9) / count
        rate, data = config.batch_size / each, waited / count
        record.update(step=step, samples_per_second=rate, data_seconds=data, step_seconds=each - data)
        if step % LOG_EVERY == 0 or step == config.steps:
            progress.log(record)
        progress.advance(step, said(record, rate, data / each, best))
        stop.took("step", each)
        since, waited = time.monotonic(), 0.0

    for batch in batches:
        waited += time.monotonic() - waiting
        taken.append(take(setup, batch, step))
        timing.stepped(batch)
        step += 1
        if step % every == 0 or unscored():
            look()
        if unscored():
            score()
        enough = bool(config.patience) and stale >= config.patience
        stop.took("save", checkpoints.seconds)
        stopping = any_rank(bool(stop))
        early = min(checkpoints.seconds, period / 2)  # whole within the period
        due = time.monotonic() - saved > period - early or bool(config.checkpoint_every and step % config.checkpoint_every == 0)
        if any_rank(due) or stopping or enough or step == config.steps:
            look()
            save()
            saved, period = time.monotonic(), 60 * config.checkpoint_minutes
        if enough:
            progress.say(f"no improvement in {config.patience} validations: stopped at step {step}")
            break
        if stopping and (step < config.steps or unscored()):
            raise pause()
        waiting, _ = time.monotonic(), clock.lap("waiting")
        since = since if taken else waiting
    tick("")  # the first rank writes, the others wait for it
    clock.heard = lambda part: None
    progress.doing("writing the model")
    clock.lap("saving")
    timing.write("done")
    if (best_found := checkpoints.best()) is not None:  # once the last checkpoint is whole
        checkpoints.read(best_found, {"model": setup.averaged()}, setup.convert)
    memories: site.Memories = {}
    if setup.remembered is not None:
        memories = setup.remembered.memories
    elif config.site_memory:
        progress.doing("learning the site memory")
        with setup.average.swapped():
            learned = site.learn(setup, stop)
        if learned is None:
            raise pause()
        memories = learned
        progress.say(site.told(memories))
    fitted: noise_scale.Fitted | None = None
    if setup.architecture.noise.channels:
        progress.doing("fitting the noise scale")
        with setup.average.swapped():
            fitted = noise_scale.fit(setup, memories, stop)
        if fitted is None:
            raise pause()
        progress.say(str(fitted))
    if (model := setup.whole(setup.averaged())) is not None:  # on the first rank
        best_step = best_found.step if best_found else step
        finish(setup, model, out, checkpoints.folder, step, best_step, seconds + time.monotonic() - began, memories, fitted)
    progress.status("done")
    timing.write("done")


def reads_every(device: torch.device) -> int:
    """Steps between two looks at losses and norms: where the host would wait for a device, some go on its queue first."""
    return 1 if device.type == "cpu" else LOG_EVERY


def said(record: Mapping[str, Any], rate: float, waited: float, best: float) -> str:
    """A step for people: its loss, samples a second, the share of its time without a batch where that is much, the best validation loss."""
    told = [f"loss {record['loss']:.4f}", f"{rate:.2f} samples/s"]
    told += [f"waits for data {waited:.0%}"] if waited >= MUCH else []
    return "  ".join([*told, f"best {best:.4f}"] if math.isfinite(best) else told)


def finish(
    setup: Setup, model: Downscaling, out: Path, checkpoints: Path, step: int, best: int, seconds: float, memories: site.Memories,
    fitted: noise_scale.Fitted | None = None,
) -> None:  # fmt: skip
    """Write the folder of `model`, the averaged weights of step `best`, with its site memory, noise scale, curve, provenance and card."""
    from orbit2.provenance import record

    stores = {pairs.name: pairs.store for pairs in setup.training}
    statics_from, statics = carried.origin(stores, model.statics)
    told = folder.unnamed({key: store.grid("coarse") for key, store in stores.items()}, setup.section["datasets"])
    out.mkdir(parents=True, exist_ok=True)
    for kept in ("metrics.jsonl", NAME):
        write_text(out / kept, (checkpoints / kept).read_text(encoding="utf-8"))
    about = {
        "name": setup.section["name"],
        "hash": setup.section["hash"],
        "steps": step,
        "best_step": best,
        **({} if setup.tails is None else {"chosen_by": setup.config.choose_by, "tails": _tails(setup)}),
        "training_seconds": round(seconds, 2),
        "region": setup.section["model"]["region"],
        "origin": setup.origin,
        **setup.handed_on,
        "datasets": setup.section["datasets"],
        **({"grids": told} if told else {}),
        "cell_methods": _methods(setup),
        "input_cell_methods": _input_methods(setup),
        "coarse_km": setup.training[0].store.grid("coarse").km,
        "step_hours": min(store.step_hours for store in stores.values()),
        "statics_from": statics_from,
        **({"input_quantiles": setup.quantiles} if setup.quantiles else {}),
        "batch_size": setup.config.batch_size,
        "seed": setup.config.seed,
        "ranks": setup.here.world,
        "precision": str(setup.dtype or torch.float32),
        **({} if setup.cutting is None else {"tiles": str(setup.cutting)}),
        **({"site_memory": site.about(memories)} if memories else {}),
        **({} if fitted is None else {"noise_scale": fitted.scale, "noise": fitted.about}),
    }
    if fitted is not None and isinstance(model, Reslim):
        model.noise_scale = fitted.scale
    write_json(out / "provenance.json", record("train", config=dict(setup.section), config_hash=setup.section["hash"]))
    write_card(out / "card.md", model, about, out / "metrics.jsonl")
    folder.save(out, model, setup.normaliser, about, statics, site.files(memories, model.outputs))


def _input_methods(setup: Setup) -> dict[str, str]:
    """The same of the inputs: what a file's are compared with."""
    stores = [pairs.store for pairs in reversed(setup.training)]
    return {name: store.cell_methods(name) for store in stores for name in store.variables("coarse") if name in setup.inputs}


def _tails(setup: Setup) -> dict[str, dict[str, float]]:
    """From where on a value of an output counts as one of the tail, in its own units, by dataset."""
    assert setup.tails is not None
    found = setup.normaliser.denormalise(setup.tails[:, :, None, None], setup.outputs)[..., 0, 0]
    return {pairs.name: {name: round(value, 6) for name, value in zip(setup.outputs, row, strict=True) if math.isfinite(value)}
            for pairs, row in zip(setup.training, found.tolist(), strict=True)}  # fmt: skip


def _methods(setup: Setup) -> dict[str, str]:
    """CF cell methods of the outputs, as the first dataset that has them says."""
    stores = [pairs.store for pairs in reversed(setup.training)]
    return {name: store.cell_methods(name) for store in stores for name in setup.outputs if name in store.variables("fine")}
