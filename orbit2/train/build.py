"""What a training run is made of: data, model, optimiser, weight average, ready for the first step. Never takes one (see trainer.py)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from orbit2.config.checks import refuse_table
from orbit2.config.imported import TRAINED_TILES
from orbit2.config.load import validate
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.config.schema import DataConfig, ModelConfig
from orbit2.data.cache import of_node
from orbit2.data.cutting import Cutting
from orbit2.data.dataset import Pairs
from orbit2.data.fingerprint import fingerprint
from orbit2.data.noisy import Noise
from orbit2.data.pairs import PairStore
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.files import read_json, short_hash
from orbit2.model import attention, folder
from orbit2.model.build import Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.carried import lent
from orbit2.model.compiled import wants_compilation
from orbit2.model.heap import keep_heap
from orbit2.model.precision import autocast_dtype, disallow_tf32
from orbit2.model.reslim import Reslim
from orbit2.model.transfer import transfer
from orbit2.parallel.apply import apply, fill
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, sizes
from orbit2.parallel.reduce import Fact, agree_on, from_first
from orbit2.parallel.sharded import gather
from orbit2.timing import Clock
from orbit2.train import losses
from orbit2.train.average import Average
from orbit2.train.optimizer import build
from orbit2.train.replayed import Replays, require
from orbit2.train.state import optimizer_state
from orbit2.train.tails import thresholds
from orbit2.train.validation import residual_scales

if TYPE_CHECKING:
    from orbit2.train.remembered import Remembered


def prepare(config: TrainConfig, device: torch.device) -> None:
    """Threads, seeds and determinism."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if device.type == "cpu":
        keep_heap()
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(config.deterministic and device.type == "cpu")
    # a debugging aid that costs a tenth of a CPU step; a property without a type
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


class Setup:
    """Everything a run is made of: data, model, optimiser, weight average."""

    def __init__(
        self,
        section: Mapping[str, Any],
        model_config: ModelConfig,
        stores: Mapping[str, Path],
        statistics: Mapping[str, Path],
        parent: Path | None,
        here: Ranks,
    ) -> None:
        self.section, self.config, self.here, self.fine_tuned = section, model_config.train, here, parent is not None
        self.remembered: Remembered | None = None  # site memory that members are trained beside
        self.clock = Clock()  # that steps lap; the trainer's is the record's
        missing = [name for name in model_config.datasets if name not in stores or name not in statistics]
        if missing:
            raise OrbitError("no pair store or statistics given for a dataset", where="command line", got=missing[0],
                             hint="pass --store NAME=PATH and --statistics NAME=PATH")  # fmt: skip
        data = validate(DataConfig, section.get("data", {}), "data")
        cache = of_node(data.cache, data.cache_gb)
        opened = {name: PairStore(stores[name], *cache) for name in model_config.datasets}
        facts = {name: read_json(statistics[name]) for name in model_config.datasets}
        inputs = _union(opened[n].variables("coarse") for n in opened)
        available = _union(opened[n].variables("fine") for n in opened)
        self.outputs = tuple(model_config.outputs) if model_config.outputs else available
        self.normaliser = _normaliser(facts, self.config.precipitation_threshold)
        self.quantiles = {name: one["quantiles"] for name, one in facts.items() if "quantiles" in one}  # none of older ones
        origin: Downscaling | None = None
        ancestor: Mapping[str, Any] = {}
        if parent is not None:
            origin, inherited, ancestor = folder.load(parent, weights=here.first)  # the others get theirs from it
            self.normaliser = inherited.extended(self.normaliser)
            opened = {name: lent(store, parent, ancestor, origin.statics) for name, store in opened.items()}
        statics = _union(opened[n].statics("fine") for n in opened)
        if origin is not None:
            inputs, statics = _union([origin.inputs[: len(origin.inputs) - len(origin.statics)], inputs]), _union([origin.statics, statics])
        agree_on(_files(opened, facts, {} if parent is None else ancestor["sha256"]))
        architecture = validate(ArchitectureConfig, section["architecture"], "architecture")
        if architecture.conserve:  # of the input as it is, drizzle too
            self.normaliser = Normaliser(self.normaliser.moments)
        self.dtype = autocast_dtype(self.config.precision, here.device)
        disallow_tf32(self.dtype, here.device)
        attention.require(architecture, here.device, self.dtype)  # said before any data is read
        known = {name: store.grid("coarse") for name, store in opened.items()}
        known = {name: g.crop(*g.window(model_config.region)) if model_config.region else g for name, g in known.items()}
        older = {} if parent is None else {f"parent: {name}": g for name, g in folder.grids(ancestor).items()}
        refuse_table(architecture, {**older, **known}, self.config.tiled, "train")
        self.cutting = cutting(self.config, architecture)
        self.architecture, self.inputs, self.statics = architecture, (*inputs, *statics), statics
        shape = sizes(self.config.mesh, here.world, architecture, self.config.batch_size, len(self.inputs), self.config.tiled)
        self.mesh = Mesh(shape, here, self.config.mesh.channels)
        splits = {name: section["datasets"][name]["split"] for name in opened}

        def pairs(block: str) -> list[Pairs]:
            return [
                Pairs(
                    store,
                    (splits[name][block]["start"], splits[name][block]["end"]),
                    self.normaliser,
                    self.outputs,
                    model_config.region,
                    name,
                    self.config.shift_probability,
                    statics,
                    reflect=architecture.position != "table",
                    leave_out=model_config.leave_out,
                )
                for name, store in opened.items()
            ]

        self.handed_on = {key: ancestor[key] for key in (TRAINED_TILES, "weights_licence") if key in ancestor}  # of imported weights
        self.training, self.validation = pairs("train"), pairs("validation")
        self.origin = "random initialisation"
        self.model = self._network(origin, ancestor)
        self.average = Average(self.model, self.config.ema)
        self.optimizer = build(self.model, self.config)
        weights = [self.config.variable_weights.get(name, 1.0) for name in self.outputs]
        self.objective = losses.Objective(self.config, self.outputs, architecture, self.normaliser).to(here.device)
        if shapes := self.compiled:
            self.objective.compile(shapes)
        self.replays: Replays | None = None
        if self.config.cuda_graphs:
            require(self)
            self.replays = Replays(self.model.parameters(), self.objective.by_core)
        if (seen := self.objective.seen) is not None:
            measured = from_first(residual_scales(self.model, self.training, seen) if here.first else None)
            assert measured is not None
            spacings, table, names = measured
            self.objective.measured(spacings, table, names)
        self.tails: Tensor | None = None
        if self.config.choose_by == "error_and_tail":
            self.tails = from_first(thresholds(self.training) if here.first else None)
        self.channel_weights = torch.tensor(weights, device=here.device)
        self.steps = Steps(
            self.training,
            self.config.batch_size,
            self.config.seed,
            self.config.augment,
            self.mesh.reader,
            shape.readers,
            self.cutting,
            self.mesh.place["tiles"],
            shape.tiles,
            self.config.accumulate,
            Noise(architecture.noise.channels, self.objective.members, self.config.seed) if self.objective.members > 1 else None,
        )

    def _network(self, origin: Downscaling | None, ancestor: Mapping[str, Any]) -> Downscaling:
        """The network with its first weights, spread over the mesh. Only the first rank ever holds all of it, on its host."""
        here, first, values = self.here, self.here.first, None
        real = self.blank(None if first else "meta")
        scales = from_first(residual_scales(real, self.training) if first else None)
        assert scales is not None
        real.set_scale(*scales)
        if first:
            if origin is not None:
                self.origin = f"{ancestor['name']}-{ancestor['hash']} ({transfer(origin, real)})"
            real.output_moments.copy_(torch.tensor([self.normaliser.moments[name] for name in self.outputs]))
            values = real.state_dict()
        self.origin = from_first(self.origin)
        if not self.mesh.split:
            freeze(real, self.config)
            apply(real.to(here.device), self.mesh, checkpointing=self.config.checkpointing, compiled=self.compiled)
            return real
        model = self.blank("meta")
        model.set_scale(*scales)
        freeze(model, self.config)
        apply(model, self.mesh, checkpointing=self.config.checkpointing, compiled=self.compiled, dtype=self.dtype)
        fill(model, values, here.device)
        return model

    @property
    def compiled(self) -> int:
        """For how many shapes of batches the network is compiled; 0: not."""
        return len({self.windows(pairs) for pairs in self.training}) if wants_compilation(self.config.compile, self.here.device) else 0

    def windows(self, pairs: Pairs) -> tuple[tuple[int, int], int]:
        """Rows and columns of what a step reads of a dataset, and how many such windows of a sample."""
        if self.cutting is None:
            return pairs.whole.shape, 1
        tiling = self.cutting.tiling(pairs.whole)
        return tiling.padded, min(self.cutting.count or len(tiling), len(tiling))

    def averaged(self) -> dict[str, Tensor]:
        """The network's state with averaged weights: what is validated, kept as the best and delivered. Shares its memory."""
        return {**self.model.state_dict(), **self.average.values}

    def state(self, **progress: float) -> dict[str, Any]:
        """What a checkpoint holds, and reads back in place: the run's own tensors by name, and its `progress` (see `restored`)."""
        return {
            "model": self.model.state_dict(),
            "average": self.averaged(),
            "optimizer": optimizer_state(self.model, self.optimizer),
            "objective": self.objective.state(),
            "progress": progress,
        }

    def convert(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by parameter name, of an earlier orbit2, as they are named and laid out now."""
        return attention.converted(tensors, self.architecture.heads)

    def restored(self) -> None:
        """After `state` was read back: what depends on it."""
        self.objective.restore(self.objective.state(), self.here)

    def blank(self, device: str | None = None) -> Downscaling:
        """An untrained network of this run; on `meta` it has shapes and no values."""
        with torch.device(device) if device else nullcontext():
            return build_model(self.architecture, self.inputs, self.outputs, self.statics)

    def whole(self, state: Mapping[str, Tensor]) -> Downscaling | None:
        """The network with the weights of `state`, which may be sharded, on the first rank's host; None on the others. Collective."""
        full = {}
        for name, tensor in state.items():
            value = gather(tensor)
            if self.here.first:
                full[name] = value.detach().cpu()
        if not self.here.first:
            return None
        model = self.blank()
        if known := self.model.scale_km:
            model.set_scale(known, torch.ones(len(known), len(self.outputs)), self.model.scale_datasets)
        model.load_state_dict(full)
        return model.eval()


def freeze(model: Downscaling, config: TrainConfig) -> None:
    """No gradient for what members share, where it keeps its weights."""
    if config.freeze_trunk and isinstance(model, Reslim):
        for parameter in model.trunk_parameters():
            parameter.requires_grad_(False)


def cutting(config: TrainConfig, architecture: ArchitectureConfig) -> Cutting | None:
    """How samples are cut into tiles; None for whole samples. Raises OrbitError for a model that could not tell tiles apart."""
    refuse_table(architecture, {}, config.tiled, "train.tile")
    return Cutting(config.tile, config.halo, architecture.patch, config.tiles_per_sample) if config.tiled else None


def _files(opened: Mapping[str, PairStore], facts: Mapping[str, Any], ancestor: Mapping[str, str]) -> list[Fact]:
    """What ranks that read copies of their own must have alike."""
    numbers = {name: short_hash({key: value for key, value in one.items() if key != "provenance"}) for name, one in facts.items()}
    return [
        Fact("the pair stores", {name: fingerprint(store) for name, store in opened.items()}, "copy one and the same to all nodes"),
        Fact("the statistics", numbers, "give all ranks the same --statistics"),
        Fact("the model to start from", ancestor, "give all ranks the same --parent"),
    ]


def _union(groups: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _normaliser(facts: Mapping[str, Any], threshold: float) -> Normaliser:
    """Moments of all datasets; the first dataset that has a variable decides its scale."""
    made = [Normaliser.from_statistics(value, threshold) for value in facts.values()]
    result = made[0]
    for other in made[1:]:
        result = result.extended(other)
    return result
