"""torch.compile: parts of one graph, the same numbers, no recompilation; CUDA graphs refuse what they cannot do."""

import copy
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.model.compiled import KERNELS, compile_model, keep_graphs
from orbit2.model.gaps import Gaps
from orbit2.model.geometry import Geometry
from orbit2.model.replayed import one_graph, replay_model
from orbit2.model.reslim import Reslim
from tests.data.small_models import INPUTS, batch_for, demo_model, wake
from tests.data.tape import stand_in
from tests.data.tiny_training import build

CPU = torch.device("cpu")


class Counting:
    """A backend that runs the captured graphs eagerly and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        self.graphs += 1
        return graph.forward


def pair(**changes: object) -> tuple[Reslim, Reslim]:
    """A model and an equal one to be compiled."""
    torch._dynamo.reset()
    model = wake(demo_model(time_embedding=True, **changes))
    return model, copy.deepcopy(model)


def batch(masked: bool, seed: int = 0) -> tuple[Tensor, Tensor, Geometry, tuple[str, ...], Tensor]:
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    torch.manual_seed(seed)
    coarse = torch.randn_like(coarse)
    if masked:
        coarse[0, 0, :3, :4] = torch.nan
    return coarse, statics, geometry, INPUTS, torch.randn(2, 4)


BUDGET = {"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}  # 6 x 12 tokens lie on 8 x 12


@pytest.mark.parametrize(
    ("changes", "parts"), [
        pytest.param({}, 8, marks=pytest.mark.slow),
        ({"conserve": True, "position": "table", "table_shape": (6, 12)}, 8),
        (BUDGET, 10),
    ],
)  # fmt: skip
def test_one_graph_a_part_and_the_same_training_step(changes: dict[str, object], parts: int) -> None:
    """Complete and masked batches: no graph break (fullgraph raises), gradients as eager; equal blocks share a graph, and what is missing
    makes another of those parts alone that look at it."""
    plain, fast = pair(**changes)
    backend = Counting()
    assert compile_model(fast, "on", CPU, backend)
    looking = 2  # the aggregation, and where the residual path is entered
    for masked, seed, graphs in ((False, 1, parts), (True, 2, parts + looking), (False, 3, parts + looking), (True, 4, parts + looking)):
        arguments = batch(masked, seed)
        results = [model.train()(*arguments) for model in (plain, fast)]
        for model, result in zip((plain, fast), results, strict=True):
            model.zero_grad()
            loss = result.square().mean()
            own = model.auxiliary(arguments[0], INPUTS, torch.zeros_like(result), torch.ones(1, 1, *result.shape[-2:]), True)
            (loss if own is None else loss + own[0] / own[1]).backward()
        assert (results[1] - results[0]).abs().max() < 1e-5
        for (name, a), b in zip(plain.named_parameters(), fast.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            assert a.grad is None or (a.grad - b.grad).abs().max() < 1e-5 * (1 + a.grad.abs().max()), name
        assert backend.graphs == graphs
    assert list(plain.state_dict()) == list(fast.state_dict())


class Waits(TorchDispatchMode):
    """Notes what a CUDA graph cannot capture: values brought to the host, tensors made on it, shapes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        if name in ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique2"):
            self.seen.add(name)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", ["off", "budget", "threshold"])
def test_only_compression_by_threshold_waits_for_values(mode: str) -> None:
    model = demo_model(compression={"mode": mode, "ratio": 4, "max_leaf": 4}).eval()
    given, waits = batch(False), Waits()
    with torch.no_grad(), waits:
        model(*given, Gaps(False, False))
    assert bool(waits.seen) == (mode == "threshold") == (not one_graph(model)), waits.seen


def test_one_graph_when_predicting_other_variables_and_precision() -> None:
    plain, fast = pair()
    compile_model(fast, "on", CPU, Counting())
    coarse, statics, geometry, _, clock = batch(False)
    for half, bound in ((False, 1e-5), (True, 0.02)):  # a depthwise convolution is summed in another order: the last bit of bfloat16
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            found, expected = (model.eval()(coarse[:, 1:], statics, geometry, INPUTS[1:], clock) for model in (fast, plain))
        assert (found - expected).abs().max() < bound


def shaped(height: int, width: int, size: int, masked: bool) -> tuple[Tensor, Tensor, Geometry, tuple[str, ...]]:
    coarse, statics, geometry = batch_for(uniform(-30, 30, 0, 60, height, width), batch=size)
    if masked:
        coarse[0, 0, :2, :3] = torch.nan
    return coarse, statics, geometry, INPUTS


def test_one_graph_of_a_part_serves_all_shapes_of_a_run() -> None:
    """A foundation run: four datasets and batches of two sizes, complete or not. What looks at neighbours is not compiled then."""
    plain, fast = pair(conserve=True)
    backend, known = Counting(), []
    compile_model(fast, "on", CPU, backend, shapes=4)
    for masked in (False, True):
        for height, width, size in ((8, 12, 2), (8, 12, 3), (12, 8, 2), (16, 12, 3), (8, 16, 2)):
            arguments = shaped(height, width, size, masked)
            found, expected = (model.train()(*arguments) for model in (fast, plain))
            assert (found - expected).abs().max() < 1e-5
            known.append(backend.graphs)
    general = 5  # aggregation, position, block, decoder layer, conservation
    assert known[0] == general and known[1] <= known[0] + 1 and known[1:5] == known[1:2] * 4  # a table of one time, for all samples
    assert known[-1] <= known[4] + 2 and known[6:] == known[6:7] * 4


def test_a_second_shape_of_a_run_of_one_has_its_graphs_too() -> None:
    """Of the parts that serve all shapes one more each, and no more for a third shape; as many as there are shapes of the others."""
    plain, fast = pair()
    backend, known = Counting(), []
    compile_model(fast, "on", CPU, backend)
    still = 4  # end of the decoder, residual block, two ends of the residual path
    for height, width in ((8, 8), (8, 12), (12, 16), (16, 12)):
        arguments = shaped(height, width, 2, False)
        assert (fast.train()(*arguments) - plain.train()(*arguments)).abs().max() < 1e-5
        known.append(backend.graphs)
    general = known[0] - still
    assert known[1] <= known[0] + general + still and known[3] - known[2] == still


def test_a_part_that_has_had_too_many_graphs_goes_on_without(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("orbit2.model.compiled.GRAPHS", 2)
    plain, fast = pair()
    compile_model(fast, "on", CPU, "eager")
    for width in (8, 10, 12, 14):
        arguments = shaped(8, width, 2, False)
        assert (fast.train()(*arguments) - plain.train()(*arguments)).abs().max() < 1e-5
    assert "has had 2 graphs: from now on it runs without" in caplog.text


def test_a_part_that_the_compiler_cannot_make_goes_on_without(caplog: pytest.LogCaptureFixture) -> None:
    def broken(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        raise AssertionError("no such instruction")

    plain, fast = pair()
    compile_model(fast, "on", CPU, broken)
    for seed in (1, 2):
        arguments = batch(False, seed)
        assert torch.equal(fast.train()(*arguments), plain.train()(*arguments))
    assert caplog.text.count("Block.undropped cannot be compiled here") == 1 and "no such instruction" in caplog.text


def test_blocks_that_are_dropped_share_a_graph_at_all_rates() -> None:
    """Deeper blocks are dropped more often: what decides is outside the graphs."""
    plain, fast = pair(depth=4, drop_path=0.5)
    backend = Counting()
    compile_model(fast, "on", CPU, backend)
    arguments, results = batch(False), []
    for model in (plain, fast):
        torch.manual_seed(3)
        results.append(model.train()(*arguments))
    assert (results[1] - results[0]).abs().max() < 1e-5 and backend.graphs == 8 + 2  # the first block is never dropped


def test_what_is_missing_may_be_known_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA graphs do, which cannot look at values: they call the compiled forward with the gaps as sixth argument."""
    plain, fast = pair()
    compile_model(fast, "on", CPU, "eager")
    coarse, statics, geometry, names, clock = batch(True)
    known = fast.gaps(coarse, names)
    monkeypatch.setattr(Reslim, "gaps", lambda *_: pytest.fail("looked at values"))
    with torch.no_grad():
        assert (
            fast.eval()(coarse, statics, geometry, names, clock, known) - plain.eval()(coarse, statics, geometry, names, clock, known)
        ).abs().max() < 1e-5


class Called:
    """Stands in for `Recording` where there is no GPU: runs what would be recorded."""

    def __init__(self, run: Any, tensors: Any, pool: Any) -> None:
        self.run = run

    def __call__(self, tensors: Any) -> Tensor:
        result: Tensor = self.run(*tensors)
        return result


def test_cuda_graphs_replay_the_compiled_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their order of arguments, without any recording: compiled parts cannot be taken down (see the next test)."""
    plain, fast = pair()
    compile_model(fast, "on", CPU, "eager")
    monkeypatch.setattr("orbit2.model.replayed.Recording", Called)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    replay_model(fast, torch.device("cuda"), None)
    for masked in (False, True):
        arguments = batch(masked)
        with torch.no_grad():
            assert (fast(*arguments) - plain.eval()(*arguments)).abs().max() < 1e-5


def test_cuda_graphs_predict_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in that takes operators down (not run on a GPU here)."""
    plain, fast = pair()
    graphs, current = stand_in(monkeypatch), list[torch.device]()
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(current.append(device)))
    replay_model(fast, torch.device("cuda"), None)
    for masked in (False, True):
        coarse, *rest = batch(masked)
        for scale in (1.0, 2.0):  # of other values, in the same memory
            with torch.no_grad():
                assert (fast(scale * coarse, *rest) - plain.eval()(scale * coarse, *rest)).abs().max() < 1e-5
    assert [graph.replayed for graph in graphs] == [2, 2] and current == [CPU] * 2, "recorded on the device that the fields are on"


def test_a_deep_copy_runs_its_own_weights() -> None:
    """What the trainer's weight average is."""
    _, fast = pair()
    compile_model(fast, "on", CPU, "eager")
    twin = copy.deepcopy(fast)
    arguments = batch(False)
    with torch.no_grad():
        before = twin(*arguments)
        for parameter in fast.parameters():
            parameter.zero_()
        assert torch.equal(twin(*arguments), before) and not torch.equal(fast(*arguments), before)


@pytest.mark.slow
def test_inductor_gives_the_same_numbers() -> None:
    plain, fast = pair()
    compile_model(fast, "on", CPU)
    for masked in (False, True):
        arguments = batch(masked)
        expected, found = plain.train()(*arguments), fast.train()(*arguments)
        assert (found - expected).abs().max() < 1e-5
        for result in (expected, found):
            result.square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), fast.parameters(), strict=True):
        assert a.grad is None or (a.grad - b.grad).abs().max() < 1e-4 * (1 + a.grad.abs().max()), name


def test_modes() -> None:
    model = demo_model()
    assert not compile_model(model, "off", CPU) and not compile_model(model, "auto", CPU)
    assert not any(callable(value) for module in model.modules() for value in vars(module).values())


def test_other_models_compile_as_far_as_they_can() -> None:
    class Other(nn.Module):
        inputs = INPUTS

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(
            self, coarse: Tensor, statics: Tensor, geometry: Geometry, variables: tuple[str, ...], clock: Tensor | None
        ) -> Tensor:
            return coarse * self.scale if bool(torch.isfinite(coarse).all()) else coarse.nan_to_num()

    model = Other()
    assert compile_model(model, "on", CPU, "eager")
    coarse, statics, geometry, names, clock = batch(False)
    assert torch.equal(model(coarse, statics, geometry, names, clock), 2 * coarse)


def test_gaps_tell_inputs_from_interpolated_fields() -> None:
    model = demo_model()
    names, last = model.inputs[:3], next(k for k, name in enumerate(model.inputs[:3]) if name not in model.outputs)
    own = next(k for k, name in enumerate(names) if name in model.outputs)
    fields = torch.zeros(2, 3, 4, 4)
    assert model.gaps(fields, names) == Gaps(False, False)
    fields[1, last, 0, 0] = torch.nan
    assert model.gaps(fields, names) == Gaps(True, False)
    fields[0, own, 3, 3] = torch.inf
    assert model.gaps(fields, names) == Gaps(True, True)


def test_a_hole_in_another_variable_leaves_the_interpolation_bicubic() -> None:
    model = demo_model()  # untrained: the interpolation
    coarse, statics, geometry = batch_for(uniform(-30, 30, 0, 60, 8, 8))
    with torch.no_grad():
        whole = model(coarse, statics, geometry)
        coarse[:, 3, 2, 2] = torch.nan
        assert torch.equal(model(coarse, statics, geometry), whole)


def test_cuda_graphs_are_refused_without_cuda() -> None:
    model = demo_model()
    with pytest.raises(OrbitError, match=r"cuda_graphs needs a CUDA device.*cpu"):
        replay_model(model, CPU, torch.bfloat16)
    assert "forward" not in vars(model)


def test_kernels_are_kept_beside_the_checkpoints_unless_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for there, kept in ((None, tmp_path), (f"{tempfile.gettempdir()}/torchinductor_me", tmp_path), (f"{tmp_path}/own", tmp_path / "own")):
        monkeypatch.delenv(KERNELS, raising=False)
        if there is not None:
            monkeypatch.setenv(KERNELS, there)
        keep_graphs(tmp_path)
        assert Path(os.environ[KERNELS]) == kept


@pytest.mark.slow
def test_a_second_job_finds_the_first_ones_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters

    from orbit2.train import trainer

    monkeypatch.delenv(KERNELS, raising=False)
    tiny, found, take = build(tmp_path), [], trainer.take

    def killed(setup: trainer.Setup, batch: Any, step: int) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return take(setup, batch, step)

    for job, each in (("first", killed), ("second", take)):
        monkeypatch.setattr(trainer, "take", each)
        torch._dynamo.reset()
        counters.clear()
        with pytest.raises(KeyboardInterrupt) if job == "first" else nullcontext():
            trainer.run(config=tiny.slice(tmp_path / "config.json", steps=4, validate_every=2, checkpoint_every=2, compile="on",
                                           augment=False),
                        stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=tmp_path / "model",
                        checkpoints=tmp_path / "checkpoints")  # fmt: skip
        found.append((counters["inductor"]["fxgraph_cache_miss"], counters["inductor"]["fxgraph_cache_hit"]))
    assert found[0][0] > 0 and found[1] == (0, found[0][0])
    assert any((tmp_path / "checkpoints" / "compiled").iterdir())
