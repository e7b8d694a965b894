"""One optimiser step in one process and in two, for every axis of the mesh and every way to save memory (docs/parallel.md).

    .venv/bin/python benchmarks/parallel.py [--quick] [--turns N]

The trainer's own step (`orbit2.train.taken.optimise`), the model of config/models/reslim_9m.yaml, 23 x 32 x 64 -> 3 x 128 x 256, a GLOBAL
batch of 4, float32, one thread a process, gloo. Four processes stay: two alone and two that are ranks; they take turns, case by case, so
that both sides see the same machine. Reading data is not timed. Efficiency is t1 / (2 t2), turn by turn, and the median of that: once of
the clock, once of core time (all that both ranks computed and copied; waiting, for each other or for a core, does not count). The row
`two at once` is what this machine does to any two processes: each takes a whole step, and they share nothing but cache and memory. Tiles
are compared with one process on the same tiles; accumulation and recomputation in one process with the plain step.

The prediction knows of this machine two numbers, measured in the same run: FLOP/s of one matrix product, and bytes a second of one gloo
all-reduce; FLOPs of a step are counted, the share of them that an axis divides and the bytes it sends are computed here.
Memory is what tensors take on one rank: its state, and the most that a step adds (the allocator's own record, torch.profiler).

Exits 1 when a loss differs from one process's by 1e-5, or ddp, tiles or fsdp cost over 25 % more core time than steps of `two at once`.
Writes benchmarks/results/parallel.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[_name] = "1"
os.environ["KINETO_LOG_LEVEL"] = "6"

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import yaml
from torch.utils.flop_counter import FlopCounterMode

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.data.pairs import SideSpec, finalise, initialise, write_part
from orbit2.files import write_json
from orbit2.grid import named
from orbit2.model.flops import CORRECTED
from orbit2.parallel.launch import Ranks
from orbit2.parallel.sharded import local
from orbit2.provenance import code_version
from orbit2.train.build import Setup, prepare
from orbit2.train.state import optimizer_state
from orbit2.train.taken import optimise
from orbit2.variables import VARIABLES, is_precipitation

ROOT = Path(__file__).resolve().parents[1]
SAMPLES, BATCH = 8, 4
OUTPUTS = ("2m_temperature_min", "2m_temperature_max", "total_precipitation_24hr")
STATICS = ("land_sea_mask", "orography")
INPUTS = (*OUTPUTS, *[name for name, facts in VARIABLES.items() if facts.kind != "static" and name not in OUTPUTS])[: 23 - len(STATICS)]
MOST = 1.25  # core time of two ranks over that of two processes which share nothing, where all work is divided
REDUCED, SIDE = 16 << 20, 1024  # bytes of the all-reduce; edge of the matrix product


@dataclass(frozen=True)
class Case:
    """Settings of `train`; `beside` is the case of one process that it is compared with."""

    name: str
    ranks: int
    train: Mapping[str, Any] = field(default_factory=dict)
    beside: str = "plain"


TILED = {"tile": [16, 32], "halo": 4}
CASES = (
    Case("plain", 1),
    Case("two at once", 1),
    Case("on tiles", 1, TILED),
    Case("accumulate 2", 1, {"accumulate": 2}),
    Case("accumulate 4", 1, {"accumulate": 4}),
    Case("checkpointing blocks", 1, {"checkpointing": "blocks"}),
    Case("checkpointing all", 1, {"checkpointing": "all"}),
    Case("ddp", 2, {"mesh": {"ddp": 2}}),
    Case("tiles", 2, {"mesh": {"tiles": 2}, **TILED}, "on tiles"),
    Case("fsdp", 2, {"mesh": {"fsdp": 2}}),
    Case("sp", 2, {"mesh": {"sp": 2}}),
    Case("tp", 2, {"mesh": {"tp": 2}}),
    Case("tp with channels", 2, {"mesh": {"tp": 2, "channels": True}}),
    Case("fsdp, checkpointing all", 2, {"mesh": {"fsdp": 2}, "checkpointing": "all"}, "checkpointing all"),
)


def data(folder: Path) -> None:
    """A pair store of random fields inside the variables' ranges, and its statistics, below `folder`."""
    random, sides = np.random.default_rng(0), []
    facts: dict[str, Any] = {"static": {}}

    def fields(names: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray:
        low, high = (np.array([(0.0, 30.0) if is_precipitation(n) else VARIABLES[n].valid for n in names]).T)[..., None, None]
        return (low + (high - low) * random.uniform(0.3, 0.7, (len(names), *shape))).astype(np.float32)

    for side, grid, names in (("coarse", named("global_5.625"), INPUTS), ("fine", named("global_5.625").refine(4), OUTPUTS)):
        sides.append(SideSpec(grid, names, STATICS, fields(STATICS, grid.shape)))
        numbers = {n: {"mean": float(np.mean(VARIABLES[n].valid)), "std": float(np.ptp(VARIABLES[n].valid)) / 10, "log1p_mean": 1.0,
                       "log1p_std": 1.0} for n in (*names, *STATICS)}  # fmt: skip
        facts[side], facts["static"][side] = {n: numbers[n] for n in names}, {n: numbers[n] for n in STATICS}
    times = np.datetime64("2020-01-01", "s") + np.arange(SAMPLES) * np.timedelta64(24, "h")
    initialise(folder / "pairs.zarr", *sides, times, shard=SAMPLES)
    write_part(folder / "pairs.zarr", 0, *[np.stack([fields(s.variables, s.grid.shape) for _ in range(SAMPLES)]) for s in sides])
    finalise(folder / "pairs.zarr")
    (folder / "statistics.json").write_text(json.dumps(facts), encoding="utf-8")


def setup(case: Case, folder: Path, here: Ranks) -> Setup:
    architecture = yaml.safe_load((ROOT / "config" / "models" / "reslim_9m.yaml").read_text(encoding="utf-8"))
    train = {"steps": 1000, "batch_size": BATCH, "augment": False, "precision": "fp32", "threads": 1, **case.train}
    section = {
        "name": "parallel", "hash": "00000000", "parent": None, "architecture": architecture,
        "model": {"datasets": ["random"], "train": train, "architecture": architecture},
        "datasets": {"random": {"split": {"train": {"start": "2020-01-01", "end": f"2020-01-0{SAMPLES - 1}"},
                                          "validation": {"start": f"2020-01-0{SAMPLES}", "end": f"2020-01-0{SAMPLES}"}}}},
    }  # fmt: skip
    config = validate(ModelConfig, section["model"], case.name)
    prepare(config.train, here.device)
    return Setup(section, config, {"random": folder / "pairs.zarr"}, {"random": folder / "statistics.json"}, None, here)


class Worker:
    """What one process can be asked: each answer is a plain value."""

    def __init__(self, folder: Path, here: Ranks, cases: tuple[Case, ...]) -> None:
        self.here, self.done = here, dict.fromkeys((case.name for case in cases), 0)
        self.made = {case.name: setup(case, folder, here) for case in cases}
        self.batches = {name: made.steps[0] for name, made in self.made.items()}
        self.product = torch.randn(2, SIDE, SIDE)

    def step(self, name: str) -> tuple[float, float, float]:
        """(seconds, core seconds, loss) of the next step, begun together."""
        made = self.made[name]
        if self.here.world > 1:
            dist.barrier()
        clock, core = time.perf_counter(), time.process_time()
        loss = optimise(made, self.batches[name], self.done[name])["loss"]
        self.done[name] += 1
        return time.perf_counter() - clock, time.process_time() - core, loss

    def memory(self, name: str) -> tuple[int, int]:
        """(bytes of the state, most bytes that a step adds to them) on this rank."""
        made = self.made[name]
        made.optimizer.zero_grad(set_to_none=True)
        moments = [t for state in optimizer_state(made.model, made.optimizer).values() for t in state.values()]
        state = sum(local(t).nbytes for t in (*made.model.parameters(), *made.model.buffers(), *made.average.values.values(), *moments))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self.step(name)
        result = profile.profiler.kineto_results
        changes = sorted((event.start_ns(), event.nbytes()) for event in result.events() if event.name() == "[memory]")
        return state, int(np.cumsum([change for _, change in changes]).max())

    def flops(self, name: str) -> dict[str, int]:
        """FLOPs of a step: all, and those of the network's parts."""
        with FlopCounterMode(display=False, custom_mapping=CORRECTED) as counter:
            self.step(name)
        found = {module: sum(counts.values()) for module, counts in counter.get_flop_counts().items()}
        return {
            "all": found["Global"],
            "blocks": sum(n for module, n in found.items() if module.rpartition(".")[0].endswith("Reslim.blocks")),
            "aggregate": sum(n for module, n in found.items() if module.endswith("Reslim.aggregate")),
            "decoder": sum(n for module, n in found.items() if ".decoder." in module and module.endswith((".linear", ".head"))),
        }

    def sizes(self, name: str) -> dict[str, int]:
        """Parameters, and the tensors that blocks exchange."""
        model, config = self.made[name].model, self.made[name].architecture
        return {
            "parameters": sum(p.numel() for p in model.parameters()), "block parameters": sum(p.numel() for p in model.blocks.parameters()),
            "tokens": 16 * 32, "width": config.embed_dim, "depth": config.depth, "heads": config.heads,
            "decoder": config.decoder_depth, "head": model.decoder.head.out_features,
        }  # fmt: skip

    def multiply(self, _: str) -> float:
        """Core seconds of one product of two square matrices."""
        began = time.process_time()
        torch.mm(self.product[0], self.product[1])
        return time.process_time() - began

    def reduce(self, _: str) -> float:
        """Seconds of one all-reduce of REDUCED bytes."""
        values = torch.ones(REDUCED // 4)
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(values)
        return time.perf_counter() - began


def serve(pipe: Connection, folder: Path, rank: int, world: int, names: list[str]) -> None:
    """Answer until told to end."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    worker = Worker(folder, Ranks(rank, world, torch.device("cpu")), tuple(case for case in CASES if case.name in names))
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        pipe.send(getattr(worker, asked[0])(asked[1]))
    if world > 1:
        dist.destroy_process_group()


class Machine:
    """The processes: `alone` and `another`, one each, and the two of `ranks`."""

    def __init__(self, folder: Path) -> None:
        context = mp.get_context("spawn")
        self.pipes: dict[str, list[Connection]] = {"alone": [], "another": [], "ranks": []}
        for group, pipes in self.pipes.items():
            names = ["two at once"] if group == "another" else [case.name for case in CASES if case.ranks == (2 if group == "ranks" else 1)]
            for rank in range(world := 2 if group == "ranks" else 1):
                pipe, theirs = context.Pipe()
                pipes.append(pipe)
                context.Process(target=serve, args=(theirs, folder, rank, world, names), daemon=True).start()
        for pipes in self.pipes.values():
            for pipe in pipes:
                pipe.recv()

    def ask(self, what: str, case: Case = CASES[0]) -> list[Any]:
        """The answer of every process that takes part in a case."""
        pipes = self.pipes["ranks"] if case.ranks > 1 else self.pipes["alone"]
        pipes = [*pipes, *self.pipes["another"]] if case.name == "two at once" else pipes
        for pipe in pipes:
            pipe.send((what, case.name))
        return [pipe.recv() for pipe in pipes]

    def end(self) -> None:
        for pipes in self.pipes.values():
            for pipe in pipes:
                pipe.send(None)


def sent(case: Case, sizes: Mapping[str, int]) -> int:
    """Bytes that one of two ranks sends in a step: an all-reduce of S bytes sends S, a gather, a scatter and an exchange S / 2."""
    mesh = case.train.get("mesh", {})
    whole, blocks = 4 * sizes["parameters"], 4 * sizes["block parameters"]
    field = 4 * BATCH * sizes["tokens"] * sizes["width"]  # [B, N, D]
    total = 0
    if mesh.get("ddp") or mesh.get("tiles"):
        total += whole
    if mesh.get("fsdp") or mesh.get("sp"):  # gathered forward and backward, scattered once; outside the blocks gathered once
        total += (3 * blocks + 2 * (whole - blocks)) // 2
    if mesh.get("sp"):  # q, k, v there and their mixture back, of half the tokens, both ways; the blocks' output gathered
        total += 2 * sizes["depth"] * (4 * field // 2) // 2 + 2 * field // 2
    if mesh.get("tp"):  # two sums a block each way; the decoder's columns gathered, their inputs' gradients summed
        layers = sizes["decoder"] + 1
        total += (4 * sizes["depth"] + layers) * field + (sizes["decoder"] * field + field * sizes["head"] // sizes["width"]) // 2
    if mesh.get("channels"):  # maxima, sums and mixtures of the heads; both ways only what scores and values are made of
        total += field + 2 * field * sizes["heads"] // sizes["width"]
    return total


def own(case: Case, flops: Mapping[str, int]) -> float:
    """FLOPs of one of the ranks: what its axis divides by their number."""
    mesh = case.train.get("mesh", {})
    divided = flops["all"] if not {"sp", "tp"} & set(mesh) else flops["blocks"]
    divided += flops["decoder"] if "tp" in mesh else 0
    divided += flops["aggregate"] if mesh.get("channels") else 0
    return flops["all"] - divided * (1 - 1 / case.ranks)


def middle(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": median, "low": low, "high": high}


def judge(case: Case, taken: Mapping[str, list[list[Any]]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table. The first turn wakes libraries, and shows whether all sides compute the same."""
    one, mine = taken[case.beside], taken[case.name]
    shares = len(mine[0])  # processes, of which each does this part of a step's work
    steps = 2 if case.name == "two at once" else 1

    def clock(turn: list[Any]) -> float:
        return max(seconds for seconds, _, _ in turn)

    def core(turn: list[Any]) -> float:
        return sum(seconds for _, seconds, _ in turn)

    timed = list(zip(one, mine, strict=True))[1:]
    flops, speed, network = facts["flops"][case.beside], facts["flop/s"], facts["bytes/s"]
    predicted = flops["all"] / speed / (case.ranks * (own(case, flops) / speed + sent(case, facts["sizes"]) / network))
    state, added = (max(values) for values in zip(*facts["memory"][case.name], strict=True))
    return {
        "case": case.name, "processes": shares, "beside": case.beside,
        "seconds": middle([clock(turn) for turn in mine[1:]]), "core_seconds": middle([core(turn) / steps for turn in mine[1:]]),
        "efficiency": middle([steps * clock(x) / (shares * clock(y)) for x, y in timed]),
        "efficiency_core_time": middle([steps * core(x) / core(y) for x, y in timed]),
        "predicted_efficiency": predicted if case.ranks > 1 else None,
        "gflop_per_rank": (own(case, flops) if case.ranks > 1 else facts["flops"][case.name]["all"]) / 1e9,
        "sent_bytes_per_rank": sent(case, facts["sizes"]) if case.ranks > 1 else 0,
        "state_bytes": state, "step_bytes": added, "loss_apart": abs(mine[0][0][2] - one[0][0][2]) / abs(one[0][0][2]),
    }  # fmt: skip


def show(rows: list[dict[str, Any]], facts: Mapping[str, Any]) -> None:
    speed, network = facts["flop/s"] / 1e9, facts["bytes/s"] / 1e6
    print(f"\none matrix product {speed:.0f} GFLOP/s, one all-reduce {network:.0f} MB/s, load {os.getloadavg()[0]:.1f}")
    print(f"{'':26}{'clock s':>9}{'core s':>8}   efficiency: {'clock':>6}{'core':>6}{'predicted':>10}{'GFLOP':>8}{'sent MB':>9}"
          f"{'state MB':>10}{'step MB':>9}")  # fmt: skip
    for row in rows:
        predicted = f"{row['predicted_efficiency']:.2f}" if row["predicted_efficiency"] else "-"
        print(f"{row['case']:26}{row['seconds']['median']:>9.2f}{row['core_seconds']['median']:>8.2f}{'':15}"
              f"{row['efficiency']['median']:>7.2f}{row['efficiency_core_time']['median']:>6.2f}{predicted:>10}{row['gflop_per_rank']:>8.0f}"
              f"{row['sent_bytes_per_rank'] / 1e6:>9.1f}{row['state_bytes'] / 1e6:>10.1f}{row['step_bytes'] / 1e6:>9.1f}")  # fmt: skip


def measure(turns: int, note: Callable[[str], None]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        data(Path(folder))
        machine = Machine(Path(folder))
        taken: dict[str, list[list[Any]]] = {case.name: [] for case in CASES}
        products, reductions = [], []
        for turn in range(turns + 1):
            for case in CASES:
                taken[case.name].append(machine.ask("step", case))
            products += [machine.ask("multiply")[0] for _ in range(5)]
            reductions += [max(machine.ask("reduce", next(case for case in CASES if case.ranks > 1))) for _ in range(5)]
            note(f"turn {turn} of {turns}")
        facts = {
            "flop/s": 2 * SIDE**3 / min(products), "bytes/s": REDUCED / min(reductions), "sizes": machine.ask("sizes")[0],
            "flops": {case.name: machine.ask("flops", case)[0] for case in CASES if case.ranks == 1},
            "memory": {case.name: machine.ask("memory", case) for case in CASES},
        }  # fmt: skip
        machine.end()
    return [judge(case, taken, facts) for case in CASES], facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn; judges and writes nothing")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "parallel.json")
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    rows, facts = measure(1 if arguments.quick else arguments.turns, lambda text: print(text, end="\r", flush=True))
    show(rows, facts)
    most = next(row for row in rows if row["case"] == "two at once")["efficiency_core_time"]["median"] / MOST
    bad = [f"{row['case']}: loss {row['loss_apart']:.1e} from one process's" for row in rows if row["loss_apart"] > 1e-5]
    bad += [f"{row['case']}: {1 / row['efficiency_core_time']['median']:.2f} times the core time of one process" for row in rows
            if row["case"] in ("ddp", "tiles", "fsdp") and row["efficiency_core_time"]["median"] < most]  # fmt: skip
    for line in bad:
        print(line)
    if arguments.quick:
        return 0
    write_json(arguments.out, {
        "rows": rows, "machine": {key: facts[key] for key in ("flop/s", "bytes/s")}, "flops": facts["flops"], "sizes": facts["sizes"],
        "cores": os.cpu_count(), "load": [before, os.getloadavg()[0]], "turns": arguments.turns, "batch": BATCH,
        "code_version": code_version(), "torch": torch.__version__, "holds": not bad,
    })  # fmt: skip
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
