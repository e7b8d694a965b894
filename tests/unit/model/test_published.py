"""The published network: equal to the oracle, stage by stage; under compilation, in bf16, on odd grids and with gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.model import published
from orbit2.model.build import build
from orbit2.model.compiled import compile_model
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import activation_bytes, forward_flops, tokens
from orbit2.model.published import Published
from orbit2.model.published_weights import architecture, converted, read
from tests.data.oracle import COMMITTED, FULL, RANKS, STATICS, Case, case, known

TOLERANCE = 2e-5
SMALL = [(COMMITTED, *one) for one in known(COMMITTED)]
WHOLE = [(FULL, *one) for one in known(FULL)] or [(FULL, "A", "base")]


def named(parameters: tuple[object, ...]) -> str:
    return "-".join(str(part) for part in parameters[1:])


def stages_of(one: Case) -> dict[str, Tensor]:
    """What the oracle calls each stage -> what this network makes there."""
    made: dict[str, Tensor] = {}
    model, coarse = one.model, one.stages["input"]

    def keep(name: str) -> object:
        return lambda module, given, result: made.__setitem__(name, result)

    watched: dict[str, nn.Module] = {"norm": model.norm, "head": model.decoder.head, "decoded": model.decoder, "conv_out": model.smooth,
                                     "residual_conv0": model.enter, "residual": model.leave}  # fmt: skip
    for k, block in enumerate(model.blocks):
        watched |= {f"block{k}": block, f"block{k}_attn": block.get_submodule("attention")}
    hooks = [module.register_forward_hook(keep(name)) for name, module in watched.items()]  # type: ignore[arg-type]
    made["output"] = one.output()
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        patches = F.unfold(coarse.flatten(0, 1)[:, None], model.config.patch, stride=model.config.patch).unflatten(0, coarse.shape[:2])
        room = model.aggregate
        made["patch_embed"] = torch.einsum("bvpn,vpd->bvnd", patches, room.weight) + room.bias[:, None]
        made["aggregated"] = model.aggregated(coarse, one.names, True)
        made["pos_used"] = model.position.resized(model.grid(coarse))
        made["res_used"] = model.resolution(model.config.km)
        made["tokens_in"] = model.embed(coarse, one.names, one.geometry, True)
    return made


@pytest.mark.parametrize("where", [*SMALL, *WHOLE], ids=lambda where: f"{'committed' if where[0] == COMMITTED else 'full'}-{named(where)}")
def test_every_stage_is_the_oracle_s(where: tuple[object, ...]) -> None:
    one = case(*where)  # type: ignore[arg-type]
    made = stages_of(one)
    for stage, expected in one.stages.items():
        if stage != "input":
            assert made[stage].shape == expected.shape, stage
            assert (made[stage] - expected).abs().max() < TOLERANCE, stage


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = case(COMMITTED, "A", "base")
    monkeypatch.setattr(published, "BAND_TOKENS", 40)  # two rows of tokens and a half
    assert (one.output() - one.stages["output"]).abs().max() < TOLERANCE


def test_rank_files_make_the_same_network_whole() -> None:
    one = case(COMMITTED, "A", "base")
    state, differing, _ = read(RANKS[::-1])
    assert differing == []
    order = list(range(len(one.names)))
    one.model.load_state_dict(converted(state, one.model.config, order), strict=False)
    expected = torch.from_numpy(np.load(COMMITTED / "oracle_T.npz")["output"])
    assert (one.output() - expected).abs().max() < TOLERANCE


@pytest.mark.slow
def test_compiled_by_inductor_on_the_cpu() -> None:
    """What `train.compile: on` runs: C++ of its own, in which sums may be taken in another order."""
    for network, which in (("A", "base"), ("A", "grid12x20")):
        one = case(COMMITTED, network, which)
        plain = one.output()
        compile_model(one.model, "on", torch.device("cpu"))
        torch.testing.assert_close(one.output(), plain, rtol=0, atol=1e-4)
        assert (one.output() - one.stages["output"]).abs().max() < 1e-4


@pytest.mark.slow
def test_compiled() -> None:
    one = case(COMMITTED, "A", "subset")
    compile_model(one.model, "on", torch.device("cpu"), backend="eager")
    assert (one.output() - one.stages["output"]).abs().max() < TOLERANCE


def test_in_bf16() -> None:
    one = case(COMMITTED, "A", "subset")
    with torch.autocast("cpu", torch.bfloat16):
        half = one.output()
    error = (half.float() - one.stages["output"]).abs()
    assert 0 < error.mean() < 0.02 * one.stages["output"].std()


def test_padding_is_of_zeros_on_a_globe_too() -> None:
    """No wrapping: the weights never saw any."""
    one = case(COMMITTED, "A", "base")
    height, width = one.stages["input"].shape[-2:]
    round_ = Geometry.of(global_grid(180 / height), 4)
    assert round_.periodic and round_.shape == (height, width)
    with torch.no_grad():
        made = one.model(one.stages["input"], None, round_, one.names)
    assert torch.equal(made, one.output())


def test_grids_that_are_no_whole_patches_are_padded_and_cropped() -> None:
    one = case(COMMITTED, "A", "base")
    grid = Geometry.of(uniform(0, 60, 0, 120, 15, 31), 4)
    with torch.no_grad():
        made = one.model(one.stages["input"][..., :15, :31], None, grid, one.names)
    assert made.shape == (1, 3, 60, 124) and torch.isfinite(made).all()


def test_missing_cells_drop_out_and_are_told() -> None:
    one = case(COMMITTED, "A", "base")
    rain = one.names.index("total_precipitation_24hr")
    coarse = one.stages["input"].clone()
    coarse[:, rain, :8, :8] = torch.nan
    with torch.no_grad():
        made = one.model(coarse, None, one.geometry, one.names)
    assert torch.isfinite(made).all()
    missing = one.model.missing(coarse, one.names, False)
    assert missing is not None and missing[:, 0, :16, :16].all() and not missing[:, 1:].any()
    assert one.model.missing(one.stages["input"], one.names, False) is None


@pytest.mark.parametrize("absent", ["total_precipitation_24hr", "orography"])
def test_an_output_or_static_that_is_no_input_is_refused(absent: str) -> None:
    one = case(COMMITTED, "A", "base")
    left = [i for i, name in enumerate(one.names) if name != absent]
    with pytest.raises(OrbitError, match=f"no {absent}"):
        one.model(one.stages["input"][:, left], None, one.geometry, [one.names[i] for i in left])
    with pytest.raises(OrbitError, match=f"no {absent}"):
        build(one.model.config, [one.names[i] for i in left], one.model.outputs, STATICS)


def test_the_published_sizes() -> None:
    """Parameters as published, less what reading folds: W_q and the query into one vector, and plus the validity of each input."""
    names = [f"v{i}" for i in range(23)]
    for width, depth, heads, table, outputs, expected in ((256, 6, 4, (60, 120), 1, 7_163_375), (1024, 8, 16, (92, 184), 1, 126_712_815),
                                                          (256, 6, 4, (90, 180), 3, 9_501_571)):  # fmt: skip
        config = ArchitectureConfig(kind="orbit2", embed_dim=width, depth=depth, heads=heads, table_shape=table)
        with torch.device("meta"):
            model = build(config, names, names[:outputs], names[-4:])
        added = 23 * 4 * width - width * width
        assert sum(p.numel() for p in model.parameters()) == expected + added


def test_the_large_model_s_tile_takes_less_than_three_gigabytes() -> None:
    names = [f"v{i}" for i in range(23)]
    config = ArchitectureConfig(kind="orbit2", embed_dim=1024, depth=8, heads=16, table_shape=(92, 184))
    with torch.device("meta"):
        model = build(config, names, names[:1], names[-4:])
    tile = uniform(-20, 26, 0, 92, 184, 368)
    assert tokens(model, tile) == 16928
    assert forward_flops(model, tile) > 8 * 2 * 16928 * 12 * 1024**2
    assert activation_bytes(model, tile, False) + 4 * sum(p.numel() for p in model.parameters()) < 3e9


def test_weights_of_another_shape_are_refused() -> None:
    state = read([COMMITTED / "oracle_C_state.pt"])[0]
    with pytest.raises(OrbitError, match="heads"):
        architecture(state, 3, 0.0, "here")  # 20 / 3
    state["more"] = torch.zeros(1)
    with pytest.raises(OrbitError, match="unknown tensors more"):
        converted(state, architecture(state, 5, 0.0, "here"), range(6))


def test_it_is_of_its_own_kind() -> None:
    assert isinstance(case(COMMITTED, "A", "base").model, Published)
    with pytest.raises(ValueError, match="means nothing to kind 'reslim'"):
        ArchitectureConfig(km=28.0)
