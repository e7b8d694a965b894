"""One rank's training step on a mesh of any size, rehearsed here: who sends what to whom, and what memory it takes. Computes no number.

The trainer's own code runs, on tensors without values (FakeTensorMode) and process groups without processes. Kernels are the CPU's; what
a device's libraries and its allocator keep for themselves is not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed import ProcessGroup, distributed_c10d
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_leaves

from orbit2.config.network import TrainConfig
from orbit2.data.batch import Batch
from orbit2.data.transforms import Normaliser
from orbit2.downscale.predictor import Downscaler
from orbit2.grid import Grid
from orbit2.model.build import Downscaling
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import question
from orbit2.model.memory import Ledger
from orbit2.parallel.apply import apply
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import AXES, Mesh, Sizes
from orbit2.parallel.sharded import local
from orbit2.plan import operators
from orbit2.plan.operators import Operator
from orbit2.train.average import Average
from orbit2.train.losses import Objective
from orbit2.train.optimizer import build
from orbit2.train.state import optimizer_state
from orbit2.train.step import gradients, update

if TYPE_CHECKING:
    from orbit2.train.build import Setup

PARTS = 3  # of a step that are rehearsed: more are like the second
KINDS = {  # as torch's operators are called, of its process groups and of DTensor
    "all-gather": ("allgather", "all_gather"),
    "reduce-scatter": ("reduce_scatter",),
    "all-reduce": ("allreduce", "all_reduce"),
    "all-to-all": ("alltoall", "all_to_all"),
    "broadcast": ("broadcast",),
}


@dataclass(frozen=True)
class Collective:
    """One exchange: `kind`, the `axes` of the mesh that its `ranks` differ in, `bytes` of its largest tensor."""

    kind: str
    axes: tuple[str, ...]
    ranks: int
    bytes: int
    backward: bool


@dataclass(frozen=True)
class Rehearsal:
    """What one step, or one pass of a prediction, is for one rank: `shapes` of its parameters, `operators`, `collectives` in order, and
    bytes of memory.

    weights, moments and average are there all the time. `passing` is the most that there is beside them: gradients, activations, `inputs`,
    parameters put together from other ranks' shards, and what is on its way.
    """

    mesh: Sizes
    shapes: dict[str, tuple[int, ...]]
    operators: tuple[Operator, ...]
    collectives: tuple[Collective, ...]
    weights: int
    moments: int
    average: int
    inputs: int
    passing: int
    together: int = 1  # samples, or windows, that `inputs` are of

    @property
    def flops(self) -> int:
        return sum(operator.count * operator.flops for operator in self.operators)

    @property
    def state(self) -> int:
        return self.weights + self.moments + self.average

    @property
    def peak(self) -> int:
        return self.state + self.passing

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


class Valueless(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Tensors without values. `trying`: entered again within itself, as DTensor does to try an operator once on tensors of full size."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._depth = 0

    @property
    def trying(self) -> bool:
        return self._depth > 1

    def __enter__(self) -> Valueless:
        super().__enter__()
        self._depth += 1
        return self

    def __exit__(self, *details: Any) -> None:
        self._depth -= 1
        super().__exit__(*details)


class Watch(Ledger):  # type: ignore[no-untyped-call]
    """The memory of a rank whose parameters are sharded, and what it says to others. DTensors are looked into."""

    def __init__(self, mesh: Sizes, fake: Valueless) -> None:
        super().__init__()
        self._fake = fake
        self.mesh, self.collectives, self.calls = mesh, list[tuple[Collective, int]](), list[operators.Call]()
        self.part = 0  # of the step, counted from 1; 0 before the network's first pass
        self._resize: Callable[..., Any] = torch.UntypedStorage.resize_

    def __enter__(self) -> Watch:
        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            """FSDP frees and fills gathered parameters by this, which is no operator."""
            result = self._resize(storage, size)
            self.resized(storage)
            return result

        torch.UntypedStorage.resize_ = resize  # type: ignore[assignment, method-assign]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *details: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(*details)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        kwargs = kwargs or {}
        if self._fake.trying:
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled():
            with self:
                result = operators.decomposed(func, args, kwargs)
            if result is not NotImplemented:
                return result
        result = super().__torch_dispatch__(func, types, args, kwargs)
        backward = torch._C._current_graph_task_id() >= 0
        if func.namespace in operators.COLLECTIVES:
            self._note(func, args, backward)
        elif (call := operators.call(func, args, kwargs, result, backward, self.part)) is not None:
            self.calls.append(call)
        return result

    def follow(self, model: Downscaling, passes: int) -> None:
        """A part of a step begins with every `passes`-th pass of the model."""
        seen = 0

        def begins(module: Any, arguments: Any) -> None:
            nonlocal seen
            self.part, seen = seen // passes + 1, seen + 1

        model.register_forward_pre_hook(begins, prepend=True)  # before parameters are gathered

    def exchanged(self, weights: Sequence[float]) -> tuple[Collective, ...]:
        """Collectives in order, those of part i of the step `weights[i]` times; what comes before the first part, once."""
        parts = [[each for each, part in self.collectives if part == number] for number in range(len(weights))]
        return tuple(each for part, weight in zip(parts, (1, *weights[1:]), strict=True) for _ in range(round(weight)) for each in part)

    def _note(self, func: Any, args: Sequence[Any], backward: bool) -> None:
        name = func._schema.name.partition("::")[2]
        kind = next((kind for kind, names in KINDS.items() if any(part in name for part in names)), None)
        group = next((found for part in args if (found := _group(part)) is not None), None)
        if kind is None or group is None:  # waiting, looking
            return
        ranks = dist.get_process_group_ranks(group)
        size = max((t.nbytes for t in tree_leaves(args) if isinstance(t, Tensor)), default=0)
        self.collectives.append((Collective(kind, axes(self.mesh, ranks), len(ranks), size, backward), self.part))


def _group(argument: Any) -> ProcessGroup | None:
    """The process group that an operator's argument stands for, by itself or by name."""
    if isinstance(argument, str):
        try:
            named: Any = distributed_c10d
            return cast(ProcessGroup, named._resolve_process_group(argument))
        except (LookupError, RuntimeError, ValueError):  # a reduction's name
            return None
    if isinstance(argument, torch.ScriptObject):
        try:
            return ProcessGroup.unbox(argument)
        except RuntimeError:  # a reduction
            return None
    return argument if isinstance(argument, ProcessGroup) else None


def axes(mesh: Sizes, ranks: Sequence[int]) -> tuple[str, ...]:
    """The axes of the mesh whose coordinates differ among `ranks`."""
    seen: dict[str, set[int]] = {axis: set() for axis in AXES}
    for rank in ranks:
        for axis in reversed(AXES):
            rank, place = divmod(rank, getattr(mesh, axis))
            seen[axis].add(place)
    return tuple(axis for axis in AXES if len(seen[axis]) > 1)


@contextmanager
def world(mesh: Sizes, channels: bool = False, rank: int = 0) -> Iterator[Mesh]:
    """The mesh as `rank` of it sees it, with groups of which nobody else is there. Not where this process belongs to a real one."""
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
    model: Downscaling, train: TrainConfig, shape: Sizes, grid: Grid, together: int, *, dtype: torch.dtype | None = None, rank: int = 0
) -> Rehearsal:
    """One step of `rank`, of `train.accumulate` parts with `together` samples or windows on `grid` each.

    `model` is on the meta device, and is spread over the mesh in place: give it away. `dtype`: what is multiplied in (None: float32).
    The same question is answered once in a process.
    """
    key = (question(model, grid), together, dtype, _relevant(train), shape, rank)
    if key not in _known:
        _known[key] = _step(model, train, shape, grid, together, dtype, rank)
    return _known[key]


def rehearse_prediction(model: Downscaling, grid: Grid, together: int, dtype: torch.dtype | None = None) -> Rehearsal:
    """One pass of a prediction, as `downscale` makes it, of `together` windows on `grid`; `model` is given away, as above.

    `passing` holds the inputs too: statics and fields come and go with a window.
    """
    key = (question(model, grid), together, dtype)
    if key not in _known:
        _known[key] = _pass(model, grid, together, dtype)
    return _known[key]


_known: dict[Hashable, Rehearsal] = {}
FREE = {  # of a training's keys, those that no step of a rank depends on
    "steps", "batch_size", "learning_rate", "warmup_steps", "weight_decay", "betas", "augment", "shift_probability", "validate_every",
    "validate_samples", "checkpoint_minutes", "checkpoint_every", "checkpoint_background", "keep_checkpoints", "patience", "wall_minutes",
    "tile", "halo", "tiles_per_sample", "compile", "workers", "threads", "seed", "deterministic", "precision", "perceptual_steps",
}  # fmt: skip


def _relevant(train: TrainConfig) -> str:
    return train.model_dump_json(exclude=FREE | {"mesh"}) + str(train.mesh.channels)


def _step(
    model: Downscaling, train: TrainConfig, shape: Sizes, grid: Grid, together: int, dtype: torch.dtype | None, rank: int
) -> Rehearsal:
    parts = min(train.accumulate, PARTS)
    with world(shape, train.mesh.channels, rank) as mesh:
        model.train()
        apply(model, mesh, checkpointing=train.checkpointing, dtype=dtype)
        with Valueless() as fake:
            stage = Stage(model, train, mesh, grid, together, parts, dtype)
            held = stage.held()  # before it is on: a look into a DTensor is an operator
            with Watch(shape, fake) as watch:
                watch.known(held)
                watch.follow(model, stage.members)
                stage.step()
        inputs = _bytes(_tensors(stage.batches[0]))
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
            watch.peak + inputs,
            together,
        )


def _pass(model: Downscaling, grid: Grid, together: int, dtype: torch.dtype | None) -> Rehearsal:
    with Valueless() as fake:
        predict, known, inputs = prediction(model, grid, together, dtype)
        with torch.inference_mode(), Watch(Sizes(), fake) as watch:
            watch.known([*known, *inputs])
            predict()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    made = operators.gathered(watch.calls)
    return Rehearsal(Sizes(), shapes, made, (), _bytes(model.parameters()), 0, 0, _bytes(inputs), watch.peak + _bytes(inputs), together)


def prediction(
    model: Downscaling, grid: Grid, together: int, dtype: torch.dtype | None = None
) -> tuple[Callable[[], Tensor], list[Tensor], list[Tensor]]:
    """(a pass of the predictor, the model's tensors, the pass's inputs) on fields of nothing in particular.

    `model`, on the meta device, is given memory, of the kind that tensors have where this is called.
    """
    _fill(model.eval())
    batch = _batch(model, grid, together)
    names = (*model.inputs, *model.statics, *model.outputs)
    downscaler = Downscaler(model, Normaliser(dict.fromkeys(names, (0.0, 1.0))), {}, torch.device("cpu"), dtype)
    inputs = [batch.coarse, batch.statics, batch.clock, batch.geometry.lat, batch.geometry.lon]

    def predict() -> Tensor:
        return downscaler.physical(batch.coarse, batch.statics, batch.geometry, model.inputs, batch.clock)

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
        self.model, self.batches = model, [_batch(model, grid, together) for _ in range(parts)]
        self.optimizer, self.average = build(model, train), Average(model, train.ema)
        self.moments = optimizer_state(model, self.optimizer)
        here = Ranks(0, mesh.sizes.world, torch.device("cpu"))
        trainer = SimpleNamespace(
            model=model, mesh=mesh, config=train, here=here, optimizer=self.optimizer, average=self.average, dtype=dtype,
            objective=Objective(train, model.outputs, model.config), outputs=model.outputs, channel_weights=torch.ones(len(model.outputs)),
        )  # fmt: skip
        self._setup = cast("Setup", trainer)

    @property
    def members(self) -> int:
        """Passes of the model in a part of a step."""
        return self._setup.objective.members

    def step(self) -> None:
        gradients(self._setup, self.batches, 0)
        update(self._setup, 0)

    def held(self) -> list[Tensor]:
        """What is there before and after a step."""
        moments = [tensor for state in self.moments.values() for tensor in state.values()]
        state = [*self.model.parameters(), *self.model.buffers(), *self.average.values.values(), *moments]
        return [local(tensor) for tensor in state] + [tensor for batch in self.batches for tensor in _tensors(batch)]


def _tensors(batch: Batch) -> list[Tensor]:
    return [batch.coarse, batch.fine, batch.statics, batch.weights, batch.clock, batch.geometry.lat, batch.geometry.lon]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(local(tensor).nbytes for tensor in tensors)


def _batch(model: Downscaling, grid: Grid, count: int) -> Batch:
    """Fields of nothing in particular, complete."""
    s, (height, width) = model.config.refinement, grid.shape
    fine = (height * s, width * s)
    geometry = Geometry(torch.ones(count, height), torch.ones(count, width), grid.km, grid.km / s, grid.periodic)
    return Batch(torch.ones(count, len(model.inputs), height, width), torch.ones(count, len(model.outputs), *fine),
                 torch.ones(count, len(model.statics), *fine), torch.ones(1, 1, *fine), torch.ones(count, 4), geometry,
                 tuple(model.inputs), [str(number) for number in range(count)])  # fmt: skip
