"""One rank's training step on a mesh of any size, rehearsed here: who sends what to whom, and what memory it takes. Computes no number.

The trainer's own code runs, on tensors without values (FakeTensorMode) and process groups without processes. Kernels are the CPU's; what
a device's libraries and its allocator keep for themselves is not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from orbit2.config.network import TrainConfig
from orbit2.data.batch import Batch
from orbit2.data.transforms import Normaliser
from orbit2.downscale.predictor import Downscaler
from orbit2.grid import Grid
from orbit2.model.build import Downscaling
from orbit2.model.gaps import Gaps
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import cache_key
from orbit2.model.memory import BACKWARD, FORWARD, GATHERED
from orbit2.model.precision import rounded
from orbit2.notebook import NOTEBOOK
from orbit2.parallel.apply import apply
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, Sizes
from orbit2.parallel.sharded import local
from orbit2.plan import operators
from orbit2.plan.casts import BLAS_BYTES, THREADS, GpuCasts
from orbit2.plan.operators import Operator
from orbit2.plan.watch import Collective, Valueless, Watch
from orbit2.train.average import Average
from orbit2.train.build import freeze
from orbit2.train.losses import Objective
from orbit2.train.optimizer import build
from orbit2.train.state import optimizer_state
from orbit2.train.step import gradients, update

if TYPE_CHECKING:
    from orbit2.train.build import Setup

PARTS = 3  # of a step that are rehearsed: more are like the second
PREFETCHED = 2  # batches that each worker of a DataLoader has ready (its `prefetch_factor`)
@dataclass(frozen=True)
class Rehearsal:
    """What one step, or one pass of a prediction, is for one rank: `shapes` of its parameters, `operators`, `collectives` in order, and
    bytes of memory.

    `weights`, `moments` (the optimiser's) and `average` are there all the time. The others are there when a rank is at its fullest:
    `inputs`; `gradients` of its parameters; `activations`, all that forward passes made and that is still held; `gathered` parameters, put
    together from other ranks' shards; and `workspace`: what backward passes make on their way, what is recomputed, and what is being sent.
    `loader`: bytes of batches that wait on the host, packed, in all of its workers; not part of the peak.
    """

    mesh: Sizes
    shapes: dict[str, tuple[int, ...]]
    operators: tuple[Operator, ...]
    collectives: tuple[Collective, ...]
    weights: int
    moments: int
    average: int
    inputs: int
    gradients: int
    activations: int
    gathered: int
    workspace: int
    together: int = 1  # samples, or windows, that `inputs` are of
    loader: int = 0

    @property
    def flops(self) -> int:
        return sum(operator.count * operator.flops for operator in self.operators)

    @property
    def state(self) -> int:
        return self.weights + self.moments + self.average

    @property
    def passing(self) -> int:
        """The most that there is beside the state."""
        return self.inputs + self.gradients + self.activations + self.gathered + self.workspace

    @property
    def peak(self) -> int:
        return self.state + self.passing

    @property
    def memory(self) -> dict[str, int]:
        """Bytes at the peak by what they are for; what is not there at all, is left out."""
        parts = {
            "weights": self.weights, "optimiser": self.moments, "average": self.average, "inputs": self.inputs,
            "gradients": self.gradients, "activations": self.activations, "gathered parameters": self.gathered,
            "workspace": self.workspace,
        }  # fmt: skip
        return {name: size for name, size in parts.items() if size}

    def count(self, kind: str, axis: str, backward: bool | None = None) -> int:
        """Exchanges of `kind` over the ranks that differ in `axis`, perhaps in others too."""
        return sum(c.kind == kind and axis in c.axes and backward in (None, c.backward) for c in self.collectives)

    def lines(self) -> list[str]:
        """A line for each kind of exchange over each group."""
        groups = Counter((c.kind, c.axes, c.ranks) for c in self.collectives)
        volume: Counter[object] = Counter()
        for c in self.collectives:
            volume[c.kind, c.axes, c.ranks] += c.bytes
        return [f"  {number:>6} x {kind:<15} over {' x '.join(axes):<12} {ranks:>6} ranks {volume[kind, axes, ranks] / 1e9:>10,.3f} GB"
                for (kind, axes, ranks), number in groups.items()]  # fmt: skip


class Stay:
    """The world that is kept for the next rehearsal, and what it is of."""

    def __init__(self) -> None:
        self.kept, self.mesh, self._stack = cast("tuple[Sizes, bool, int] | None", None), cast("Mesh | None", None), ExitStack()

    def ask(self, mesh: Sizes, channels: bool, rank: int) -> Mesh:
        asked = (mesh, channels, rank)
        if self.kept != asked or self.mesh is None:
            self.leave()
            self.mesh = self._stack.enter_context(_world(*asked))
            self.kept = asked
        return self.mesh

    def leave(self) -> None:
        self._stack.close()
        self.kept = self.mesh = None


_stay: Stay | None = None


@contextmanager
def staying() -> Iterator[None]:
    """In here a world is kept until another one is asked for: what DTensor has found out of how operators are sharded, which takes half
    of the first rehearsal's time, holds for the next one on the same mesh. The end leaves no process group behind."""
    global _stay
    if _stay is not None:
        yield
        return
    _stay = Stay()
    try:
        yield
    finally:
        _stay.leave()
        _stay = None


@contextmanager
def world(mesh: Sizes, channels: bool = False, rank: int = 0) -> Iterator[Mesh]:
    """The mesh as `rank` of it sees it, with groups of which nobody else is there. Not where this process belongs to a real one."""
    if _stay is not None:
        yield _stay.ask(mesh, channels, rank)
    else:
        with _world(mesh, channels, rank) as made:
            yield made


@contextmanager
def _world(mesh: Sizes, channels: bool, rank: int) -> Iterator[Mesh]:
    here = Ranks(rank, mesh.world, torch.device("cpu"))
    if mesh.world == 1:
        yield Mesh(mesh, here, channels)
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore  # registers the back end

    dist.init_process_group("fake", rank=rank, world_size=mesh.world, store=FakeStore())
    try:
        yield Mesh(mesh, here, channels)
    finally:
        dist.destroy_process_group()
        _forget()


def _forget() -> None:
    """DTensor remembers how operators are sharded, with the mesh and its groups: an equal mesh of the next world would get dead ones."""
    from torch.distributed.tensor import debug

    if hasattr(debug, "_clear_sharding_prop_cache"):
        debug._clear_sharding_prop_cache()  # type: ignore[no-untyped-call]
        return
    dispatcher: Any = DTensor._op_dispatcher
    dispatcher.sharding_propagator.propagate_op_sharding.cache.cache_clear()


def rehearse(
    model: Downscaling, train: TrainConfig, shape: Sizes, grid: Grid, together: int, *, dtype: torch.dtype | None = None, rank: int = 0,
    gpu: bool = False,
) -> Rehearsal:
    """One step of `rank`, of `train.accumulate` parts with `together` samples or windows on `grid` each.

    `model` is on the meta device, and is spread over the mesh in place: give it away. `dtype`: what is multiplied in (None: float32).
    `gpu`: what autocast leaves in float32 is as on a GPU. The same question is answered once in a process.
    """
    question = ("step", cache_key(model, grid), together, dtype, _relevant(train), shape, rank, gpu, BLAS_BYTES)
    return NOTEBOOK.ask(question, lambda: _step(model, train, shape, grid, together, dtype, rank, gpu), written, read)


def rehearse_prediction(
    model: Downscaling, grid: Grid, together: int, dtype: torch.dtype | None = None, *, gpu: bool = False
) -> Rehearsal:
    """One pass of a prediction, as `downscale` makes it, of `together` windows on `grid`; `model` is given away, as above.

    `passing` holds the inputs too: statics and fields come and go with a window.
    """
    question = ("pass", cache_key(model, grid), together, dtype, gpu, BLAS_BYTES)
    return NOTEBOOK.ask(question, lambda: _pass(model, grid, together, dtype, gpu), written, read)


def written(found: Rehearsal) -> dict[str, Any]:
    """As JSON has it."""
    return asdict(found)


def read(told: dict[str, Any]) -> Rehearsal:
    """What `written` made."""
    shapes = {name: tuple(shape) for name, shape in told["shapes"].items()}
    collectives = tuple(Collective(**{**each, "axes": tuple(each["axes"])}) for each in told["collectives"])
    made = tuple(Operator(**each) for each in told["operators"])
    return Rehearsal(**{**told, "mesh": Sizes(**told["mesh"]), "shapes": shapes, "operators": made, "collectives": collectives})


FREE = {  # of a training's keys, those that no step of a rank depends on
    "steps", "batch_size", "learning_rate", "warmup_steps", "weight_decay", "betas", "augment", "shift_probability", "validate_every",
    "validate_samples", "checkpoint_minutes", "checkpoint_every", "checkpoint_background", "keep_checkpoints", "patience", "wall_minutes",
    "tile", "halo", "tiles_per_sample", "compile", "threads", "seed", "deterministic", "precision", "perceptual_steps",
}  # fmt: skip


def _relevant(train: TrainConfig) -> str:
    return train.model_dump_json(exclude=FREE | {"mesh"}) + str(train.mesh.channels)


def _step(
    model: Downscaling, train: TrainConfig, shape: Sizes, grid: Grid, together: int, dtype: torch.dtype | None, rank: int, gpu: bool
) -> Rehearsal:
    parts = min(train.accumulate, PARTS)
    with world(shape, train.mesh.channels, rank) as mesh:
        model.train()
        freeze(model, train)
        apply(model, mesh, checkpointing=train.checkpointing, dtype=dtype)
        with Valueless() as fake:
            stage = Stage(model, train, mesh, grid, together, parts, dtype)
            held = stage.held()  # before it is on: a look into a DTensor is an operator
            with Watch(shape, fake) as watch, _casts(gpu):
                watch.known(held)
                watch.follow(model, 1)
                stage.step()
        inputs = _bytes(_tensors(stage.batches[0]))
        gradients = watch.there_at_peak(local(p.grad) for p in model.parameters() if p.grad is not None)
        # the first part and the last one differ from those between; what is summed before them is a pass for each
        weights = (train.accumulate / parts, 1, 1 + train.accumulate - parts, 1) if parts == PARTS else (1,) * (1 + parts)
        return Rehearsal(
            shape,
            {name: tuple(local(p).shape) for name, p in model.named_parameters()},
            operators.gathered(watch.calls, weights),
            watch.exchanged(weights),
            _bytes(model.parameters()),
            _bytes(tensor for state in stage.moments.values() for tensor in state.values()),
            _bytes(stage.average.values.values()),
            inputs,
            *_parts(watch, gradients, THREADS * BLAS_BYTES * gpu),
            together,
            _waiting(stage.batches[0]) * train.accumulate * (PREFETCHED * train.workers or 1),
        )


def _pass(model: Downscaling, grid: Grid, together: int, dtype: torch.dtype | None, gpu: bool) -> Rehearsal:
    with Valueless() as fake:
        predict, known, inputs = prediction(model, grid, together, dtype)
        with torch.inference_mode(), Watch(Sizes(), fake) as watch, _casts(gpu):
            watch.known([*known, *inputs])
            predict()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    made = operators.gathered(watch.calls)
    passing = _parts(watch, 0, BLAS_BYTES * gpu)
    return Rehearsal(Sizes(), shapes, made, (), _bytes(model.parameters()), 0, 0, _bytes(inputs), *passing, together)


def _casts(gpu: bool) -> AbstractContextManager[object]:
    return GpuCasts() if gpu else nullcontext()


def _parts(watch: Watch, gradients: int, library: int) -> tuple[int, int, int, int]:
    """Bytes at the peak: gradients, activations, gathered parameters, workspace (a `library`'s own too)."""
    at = watch.at_peak
    return gradients, at[FORWARD], at[GATHERED], at[BACKWARD] - gradients + library


def _waiting(batch: Batch) -> int:
    """Bytes of a batch as loaders hand it on: 16-bit codes of fields, the rest is with the ground."""
    noise = 0 if batch.noise is None else batch.noise.nbytes
    return 2 * (batch.coarse.numel() + batch.fine.numel()) + batch.clock.nbytes + noise


def prediction(
    model: Downscaling, grid: Grid, together: int, dtype: torch.dtype | None = None
) -> tuple[Callable[[], Tensor], list[Tensor], list[Tensor]]:
    """(a pass of the predictor, the model's tensors, the pass's inputs) on fields of nothing in particular.

    `model`, on the meta device, is given memory, of the kind that tensors have where this is called.
    """
    _fill(model.eval())
    if dtype is not None:
        rounded(model, dtype)
    batch = _batch(model, grid, together)
    names = (*model.inputs, *model.statics, *model.outputs)
    downscaler = Downscaler(model, Normaliser(dict.fromkeys(names, (0.0, 1.0))), {}, torch.device("cpu"), dtype)
    inputs = [batch.coarse, batch.statics, batch.clock, batch.geometry.lat, batch.geometry.lon]

    def predict() -> Tensor:
        return downscaler.physical(batch.coarse, batch.statics, batch.geometry, model.inputs, batch.clock, Gaps(False, False))

    return predict, [*model.parameters(), *model.buffers()], inputs


def _fill(model: Downscaling) -> None:
    """Memory for a model on the meta device, and the same number everywhere."""
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            local(tensor).fill_(0.01)


class Stage:
    """A rank ready for steps on `parts` batches of nothing in particular: the trainer's own parts, without data.

    `model`, on the meta device and spread over `mesh`, is given memory, of the kind that tensors have where this is called.
    """

    def __init__(
        self, model: Downscaling, train: TrainConfig, mesh: Mesh, grid: Grid, together: int, parts: int, dtype: torch.dtype | None = None
    ) -> None:
        _fill(model)
        members = train.ensemble if train.loss == "crps" else 0
        self.model, self.batches = model, [_batch(model, grid, together, members) for _ in range(parts)]
        self.optimizer, self.average = build(model, train), Average(model, train.ema)
        self.moments = optimizer_state(model, self.optimizer)
        here = Ranks(0, mesh.sizes.world, torch.device("cpu"))
        trainer = SimpleNamespace(
            model=model, mesh=mesh, config=train, here=here, optimizer=self.optimizer, average=self.average, dtype=dtype,
            objective=_objective(train, model), outputs=model.outputs, channel_weights=torch.ones(len(model.outputs)),
            remembered=None, replays=None,
        )  # fmt: skip
        self._setup = cast("Setup", trainer)

    def step(self) -> None:
        shown, _ = gradients(self._setup, self.batches, 0)
        update(self._setup, 0, shown)

    def held(self) -> list[Tensor]:
        """What is there before and after a step."""
        moments = [tensor for state in self.moments.values() for tensor in state.values()]
        state = [*self.model.parameters(), *self.model.buffers(), *self.average.values.values(), *moments]
        return [local(tensor) for tensor in state] + [tensor for batch in self.batches for tensor in _tensors(batch)]


def _objective(train: TrainConfig, model: Downscaling) -> Objective:
    return Objective(train, model.outputs, model.config, Normaliser(dict.fromkeys(model.outputs, (0.0, 1.0))))


def _tensors(batch: Batch) -> list[Tensor]:
    noise = [] if batch.noise is None else [batch.noise]
    return [batch.coarse, batch.fine, batch.statics, batch.weights, batch.clock, batch.geometry.lat, batch.geometry.lon, *noise]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(local(tensor).nbytes for tensor in tensors)


def _batch(model: Downscaling, grid: Grid, count: int, members: int = 0) -> Batch:
    """Fields of nothing in particular, complete."""
    s, (height, width) = model.config.refinement, grid.shape
    fine = (height * s, width * s)
    geometry = Geometry(torch.ones(count, height), torch.ones(count, width), grid.km, grid.km / s, grid.periodic)
    return Batch(torch.ones(count, len(model.inputs), height, width), torch.ones(count, len(model.outputs), *fine),
                 torch.ones(count, len(model.statics), *fine), torch.ones(1, 1, *fine), torch.ones(count, 4), geometry,
                 tuple(model.inputs), [str(number) for number in range(count)],
                 noise=torch.ones(count, members, model.config.noise.channels, *fine) if members else None)  # fmt: skip
