"""Random training samples from a PairStore against its codec alone and against the plain choice, in one run on the same cores.

    .venv/bin/python benchmarks/pairstore_read.py [--quick]

Builds two stores of the packaged ERA5 week at the training shape (23 x 180 x 360 and 3 x 720 x 1440): the PairStore, and the plain
choice (float32, 10 mantissa bits kept, Blosc zstd-3 with shuffle, one chunk per sample, read by zarr-python). First prints how codec,
stored type and chunking were chosen (one core, bytes in memory). Then every process is tied to a core of its own, the page cache
is warm on both sides, samples come in random order and all ways take short turns. Times are core times (of all threads of a process),
so that other work on the machine does not count; the clock's are in the results too. Exits 1 unless reading packed samples reaches
80 % of the codec alone and twice the plain choice. Writes benchmarks/results/pairstore_read.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[_name] = "1"

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numcodecs import BitRound, Blosc, blosc
from scipy.ndimage import zoom
from zarr.codecs import BloscCodec

from orbit2.data import packing, pairs, store_layout
from orbit2.data.pairs import PairStore, SideSpec
from orbit2.files import write_json
from orbit2.grid import named
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "orbit2" / "sources" / "sample"
SHARD = 8
PER_TURN = 12  # samples
LEVELS = (200, 500, 850)
INPUTS = (
    "2m_temperature", "2m_temperature_max", "2m_temperature_min", "2m_temperature_max_1hr", "2m_temperature_min_1hr",
    "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure", "precipitation_rate", "total_precipitation_24hr",
    "volumetric_soil_water_layer_1",
    *(f"{name}_{level}" for level in LEVELS
      for name in ("temperature", "u_component_of_wind", "v_component_of_wind", "specific_humidity")),
)  # fmt: skip
OUTPUTS = ("2m_temperature_max", "2m_temperature_min", "total_precipitation_24hr")
VALUES = len(INPUTS) * 180 * 360 + len(OUTPUTS) * 720 * 1440
MS_PER_SAMPLE = (0.9, 4.5)  # one H200 and one global sample of the models trained here, large to small
TARGET_CODEC, TARGET_PLAIN = 0.8, 2.0


def weather(count: int) -> tuple[np.ndarray, np.ndarray]:
    """[n, 23, 180, 360] and [n, 3, 720, 1440] float32 from the packaged ERA5 week: 24 hours, then the same rolled in longitude.

    The week is every fourth point of the 0.25 degree grid, so cubic interpolation to 0.25 degrees keeps its roughness; the terrain
    that interpolation cannot know enters temperature at 6.5 K/km. (Mean step between neighbours of a real 0.25 degree field over the
    US: 0.46 K and 0.29 m/s; interpolated without terrain: 0.30 K and 0.25 m/s.) Upper-air fields are the surface's, scaled.
    """
    week = xr.open_dataset(SAMPLE / "era5_week.nc").sortby("latitude").load()
    terrain = xr.open_dataset(SAMPLE / "static_0.25deg.nc")["orography"].values.astype(np.float32)
    detail = terrain - zoom(terrain.reshape(180, 4, 360, 4).mean((1, 3)), 4, order=1, mode="grid-wrap", grid_mode=True)
    hours = week.sizes["time"]

    def cells(name: str, i: int) -> np.ndarray:
        values = week[name].values[i % hours]
        return ((values[1:] + values[:-1]) / 2).astype(np.float32)

    def fine_of(values: np.ndarray) -> np.ndarray:
        return np.asarray(zoom(values, 4, order=3, mode="grid-wrap", grid_mode=True), dtype=np.float32)

    coarse = np.empty((count, len(INPUTS), 180, 360), np.float32)
    fine = np.empty((count, len(OUTPUTS), 720, 1440), np.float32)
    for i in range(count):
        if i >= hours:
            turn = 37 * (i // hours)
            coarse[i], fine[i] = np.roll(coarse[i % hours], turn, -1), np.roll(fine[i % hours], 4 * turn, -1)
            continue
        t, u, v, p = (cells(name, i) for name in ("t2m", "u10", "v10", "msl"))
        rate = np.maximum(cells("tp", i), 0) * 24_000
        day = np.maximum(np.mean([cells("tp", i + k) for k in range(4)], 0), 0) * 24_000
        rows = [t, t + 2, t - 2, t + 1, t - 1, u, v, p, rate, day, np.clip((t - 260) / 100, 0, 1)]
        for share in (0.95, 0.8, 0.6):  # 850 hPa and up, in the order of LEVELS reversed: only the statistics matter here
            rows += [t * share + 10, u * (4 - 2 * share), v * (4 - 2 * share), 0.002 * share * np.exp((t - 320) / 15)]
        coarse[i] = rows
        warm = fine_of(t) - 0.0065 * detail
        spread = 2 + 0.02 * np.abs(fine_of(u))
        fine[i] = np.stack([warm + spread, warm - spread, np.maximum(fine_of(day), 0)])
    return coarse, fine


# ---- how the stored form was chosen -----------------------------------------------------------------------------------------------
def scaled_bf16(values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The other 16-bit candidate: (x - middle) / half range in bfloat16 (rounded to nearest), as raw bits."""
    result = np.empty(values.shape, np.uint16)
    for i, name in enumerate(names):
        p = packing.packing_of(name)
        x = np.log1p(values[i]) if p.logarithmic else values[i] - np.float32(p.middle)
        bits = (x / np.float32(p.step * packing.GREATEST)).astype(np.float32).view(np.uint32)
        result[i] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return result


def candidates(coarse: np.ndarray, fine: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """Bytes per sample and decoding time of codecs, stored types and chunkings; one core, bytes in memory, reused outputs."""
    count = min(len(coarse), 6)
    integers = [(packing.pack(coarse[i], INPUTS), packing.pack(fine[i], OUTPUTS)) for i in range(count)]
    brains = [(scaled_bf16(coarse[i], INPUTS), scaled_bf16(fine[i], OUTPUTS)) for i in range(count)]
    trials: list[tuple[str, str, str, Blosc | None]] = [
        ("int16", "sample", f"{codec}-{level} {('none', 'shuffle', 'bitshuffle')[shuffle]}", Blosc(codec, level, shuffle))
        for codec, level in (("lz4", 1), ("lz4", 5), ("lz4", 9), ("lz4hc", 1), ("lz4hc", 5), ("lz4hc", 9), ("zstd", 1), ("zstd", 3),
                             ("zstd", 5), ("blosclz", 5), ("zlib", 1))
        for shuffle in (1, 2)
    ]
    trials += [("int16", "sample", "lz4-1 none", Blosc("lz4", 1, 0)), ("int16", "sample", "uncompressed", None),
               ("int16", "variable", "lz4hc-5 shuffle", Blosc("lz4hc", 5, 1)),
               ("bf16", "sample", "lz4hc-5 shuffle", Blosc("lz4hc", 5, 1)), ("bf16", "sample", "zstd-3 shuffle", Blosc("zstd", 3, 1))]
    # delta along latitude, as zarr's numcodecs.delta would be undone: a pass of its own
    trials += [("int16 delta", "sample", "lz4-5 bitshuffle", Blosc("lz4", 5, 2)),
               ("int16 delta", "sample", "zstd-3 shuffle", Blosc("zstd", 3, 1))]
    rows = []
    for stored, chunk, label, codec in trials:
        samples = brains if stored == "bf16" else integers
        delta = stored.endswith("delta")
        blocks: list[list[tuple[Any, np.ndarray]]] = []
        started = time.process_time()
        for sample in samples:
            parts = [plane for side in sample for plane in side] if chunk == "variable" else list(sample)
            if delta:
                parts = [np.diff(p, axis=-2, prepend=np.zeros_like(p[..., :1, :])) for p in parts]
            blocks.append([(codec.encode(p) if codec else p.tobytes(), p) for p in parts])
        encode = (time.process_time() - started) / count
        outputs = [np.empty_like(p) for _, p in blocks[0]]
        best = np.inf
        for _ in range(rounds):
            started = time.process_time()
            for block in blocks:
                for (chunk_bytes, _), out in zip(block, outputs, strict=True):
                    if codec:
                        blosc.decompress(chunk_bytes, out)
                    else:
                        out[...] = np.frombuffer(chunk_bytes, out.dtype).reshape(out.shape)
                    if delta:
                        for row in range(1, out.shape[-2]):
                            out[..., row, :] += out[..., row - 1, :]
            best = min(best, (time.process_time() - started) / count)
        size = np.mean([sum(len(b) for b, _ in block) for block in blocks])
        rows.append({"stored": stored, "chunk": chunk, "codec": label, "megabytes": size / 1e6, "decode_ms": best * 1e3,
                     "encode_ms": encode * 1e3, "chosen": (stored, chunk, label) == ("int16", "sample", "lz4hc-5 shuffle")})
    return rows


# ---- the stores ---------------------------------------------------------------------------------------------------------------------
def build(folder: Path, coarse: np.ndarray, fine: np.ndarray) -> tuple[float, float]:
    """Write both stores; seconds per sample of each."""
    grids = named("global_1.0"), named("global_0.25")
    specs = [SideSpec(grid, names, ("orography",), np.zeros((1, *grid.shape), np.float32))
             for grid, names in zip(grids, (INPUTS, OUTPUTS), strict=True)]
    times = np.datetime64("2026-01-01T00", "s") + np.arange(len(coarse)) * np.timedelta64(3600, "s")
    started = time.perf_counter()
    pairs.initialise(folder / "pairs.zarr", specs[0], specs[1], times, shard=SHARD)
    for start in range(0, len(coarse), SHARD):
        pairs.write_part(folder / "pairs.zarr", start, coarse[start : start + SHARD], fine[start : start + SHARD])
    pairs.finalise(folder / "pairs.zarr")
    packed = (time.perf_counter() - started) / len(coarse)
    started = time.perf_counter()
    rounding = BitRound(keepbits=10)
    plain = zarr.create_group(str(folder / "plain.zarr"), zarr_format=3)
    for side, values in (("coarse", coarse), ("fine", fine)):
        array = plain.create_array(side, shape=values.shape, chunks=(1, *values.shape[1:]), dtype="float32",
                                   compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"))
        for i, sample in enumerate(values):
            array[i] = rounding.decode(rounding.encode(sample)).reshape(sample.shape)
    return packed, (time.perf_counter() - started) / len(coarse)


def stored_chunks(store: Path) -> dict[str, list[bytes]]:
    """The compressed chunks as they lie in the shards."""
    found: dict[str, list[bytes]] = {}
    for side in pairs.SIDES:
        found[side] = []
        for shard in sorted((store / side / "fields/c").glob("*/0/0/0"), key=lambda file: int(file.parts[-4])):
            whole = shard.read_bytes()
            entries = np.frombuffer(whole[-(16 * SHARD + 4) : -4], "<u8").reshape(SHARD, 2)
            found[side] += [whole[int(start) : int(start + length)] for start, length in entries if length != 2**64 - 1]
    return found


# ---- the race -----------------------------------------------------------------------------------------------------------------------
def readers(folder: Path) -> dict[str, Callable[[int], object]]:
    """What one random sample costs in each way; every reader does both sides."""
    store, chunks = PairStore(folder / "pairs.zarr"), stored_chunks(folder / "pairs.zarr")
    outputs = {side: np.empty_like(store.read_packed(side, 0)) for side in pairs.SIDES}
    plain, same = zarr.open_group(str(folder / "plain.zarr"), mode="r"), zarr.open_group(str(folder / "pairs.zarr"), mode="r")
    whole = {side: same[f"{side}/fields"] for side in pairs.SIDES}
    found: dict[str, Callable[[int], object]] = {
        "codec": lambda i: [blosc.decompress(chunks[side][i], outputs[side]) for side in pairs.SIDES],
        "packed": lambda i: [store.read_packed(side, i) for side in pairs.SIDES],
        "float32": lambda i: [store.read(side, i) for side in pairs.SIDES],
        "zarr": lambda i: [whole[side][i] for side in pairs.SIDES],
        "plain": lambda i: [plain[side][i] for side in pairs.SIDES],
    }
    try:
        import zarrs  # noqa: F401
    except ImportError:
        return found
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": 1}):
        rust = zarr.open_group(str(folder / "pairs.zarr"), mode="r")
        arrays = {side: rust[f"{side}/fields"] for side in pairs.SIDES}
    found["zarrs"] = lambda i: [arrays[side][i] for side in pairs.SIDES]
    return found


def race(folder: Path, samples: int, turns: int, process: int, barrier: Any, results: Any) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[process]})
    blosc.use_threads = False
    ways = readers(folder)
    for i in range(0, samples, 3):  # both sides into the page cache
        for way in ways.values():
            way(i)
    for turn in range(turns):
        order = np.random.default_rng([process, turn]).permutation(samples)[:PER_TURN]
        for name, way in ways.items():
            barrier.wait()
            core, wall = time.process_time(), time.perf_counter()
            for i in order:
                way(int(i))
            results.put((turn, name, time.process_time() - core, time.perf_counter() - wall))


def measure(folder: Path, samples: int, turns: int, processes: int) -> dict[str, dict[str, float]]:
    """Per way: samples per second of all processes together (by core time, and by the clock), and shares of codec and plain choice.

    Shares are the median over turns of what the ways did in the same turn: other work on the machine hits them alike.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    jobs = [context.Process(target=race, args=(folder, samples, turns, p, barrier, results)) for p in range(processes)]
    for job in jobs:
        job.start()
    names = list(readers(folder))
    taken: dict[str, Any] = {name: np.zeros((2, turns)) for name in names}  # the slowest process of every turn
    for _ in range(turns * processes * len(names)):
        turn, name, core, wall = results.get(timeout=600)
        taken[name][:, turn] = np.maximum(taken[name][:, turn], (core, wall))
    for job in jobs:
        job.join()
    done = PER_TURN * processes
    return {name: {"core": float(done / np.median(taken[name][0])), "clock": float(done / np.median(taken[name][1])),
                   "of_codec": float(np.median(taken["codec"][0] / taken[name][0])),
                   "of_plain": float(np.median(taken["plain"][0] / taken[name][0]))} for name in names}


LABELS = {"codec": "codec alone (Blosc, bytes in memory)", "packed": "PairStore.read_packed (int16)", "float32": "PairStore.read (float32)",
          "zarr": "the same store, zarr-python", "zarrs": "the same store, zarrs", "plain": "plain choice, zarr-python"}


def report(rates: dict[int, dict[str, dict[str, float]]], megabytes: dict[str, float]) -> dict[str, Any]:
    appetite = {}
    for processes, found in rates.items():
        head = f"{processes} process{'es' if processes > 1 else ''}, one core each"
        print(f"\n{head:40s} samples/s  ms/sample   GB/s (as float32)   of codec   times plain   (by the clock: samples/s)")
        for name, label in LABELS.items():
            if name in found:
                way = found[name]
                print(f"  {label:38s} {way['core']:9.0f} {1e3 * processes / way['core']:10.2f} {way['core'] * VALUES * 4 / 1e9:15.2f} "
                      f"{way['of_codec']:13.2f} {way['of_plain']:12.2f} {way['clock']:20.0f}")
    print(f"\nbytes per sample: {megabytes['pairs']:.2f} MB stored (int16 {VALUES * 2 / 1e6:.2f}, float32 {VALUES * 4 / 1e6:.2f}; "
          f"plain choice {megabytes['plain']:.2f} MB at 10 bits, which is 0.125 K at 280 K; here 0.0016 K)")
    print(f"\nappetite, {MS_PER_SAMPLE[0]} to {MS_PER_SAMPLE[1]} ms a global sample on one H200 (cores reading at the rate above):")
    for devices in (1, 8):
        rows = [{"samples_per_second": devices * 1e3 / ms, "gigabytes_per_second_stored": devices * megabytes["pairs"] / ms,
                 **{f"cores_{name}": devices * 1e3 / ms / rates[1][name]["core"] for name in ("packed", "float32", "plain")}}
                for ms in MS_PER_SAMPLE]
        appetite[f"{devices} H200"] = dict(zip(map(str, MS_PER_SAMPLE), rows, strict=True))
        low, high = rows[1], rows[0]

        def span(key: str, low: dict[str, float] = low, high: dict[str, float] = high) -> str:
            return f"{low[key]:.1f} to {high[key]:.1f}"

        print(f"  {devices} H200: {low['samples_per_second']:.0f} to {high['samples_per_second']:.0f} samples/s, "
              f"{span('gigabytes_per_second_stored')} GB/s from disk; cores: {span('cores_packed')} (int16, cast on the device), "
              f"{span('cores_float32')} (float32), {span('cores_plain')} (plain choice)")
    return appetite


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples and rounds, no table of candidates; for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "pairstore_read.json")
    arguments = parser.parse_args()
    samples, turns = (16, 5) if arguments.quick else (64, 25)
    coarse, fine = weather(samples)
    table: list[dict[str, Any]] = []
    if not arguments.quick:
        table = candidates(coarse, fine, 5)
        print("stored       chunk     codec                 MB/sample   decode ms   GB/s (as float32)   encode ms")
        for row in table:
            print(f"{row['stored']:12s} {row['chunk']:9s} {row['codec']:20s} {row['megabytes']:9.2f} {row['decode_ms']:11.2f} "
                  f"{VALUES * 4e-6 / row['decode_ms']:14.2f} {row['encode_ms']:17.1f}{'   <- chosen' if row['chosen'] else ''}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        writing = build(folder, coarse, fine)
        del coarse, fine
        megabytes = {name: sum(f.stat().st_size for side in pairs.SIDES for f in (folder / place.format(side)).rglob("*") if f.is_file())
                     / samples / 1e6 for name, place in (("pairs", "pairs.zarr/{}/fields"), ("plain", "plain.zarr/{}"))}
        cores = len(os.sched_getaffinity(0))
        rates = {processes: measure(folder, samples, turns, processes) for processes in (1, 2) if processes <= cores}
    appetite = report(rates, megabytes)
    print(f"\nwriting, one process: {writing[0] * 1e3:.0f} ms a sample packed, compressed and synced ({writing[1] * 1e3:.0f} ms plain)")
    against = {processes: found["packed"] for processes, found in rates.items()}
    held = all(way["of_codec"] >= TARGET_CODEC and way["of_plain"] >= TARGET_PLAIN for way in against.values())
    print(f"claim ({TARGET_CODEC:.0%} of the codec, {TARGET_PLAIN:g} times the plain choice): {'holds' if held else 'DOES NOT HOLD'}")
    if not arguments.quick:
        write_json(arguments.out, {
            "code_version": code_version(), "samples": samples, "page_cache": "warm", "codec": store_layout.CODEC, "candidates": table,
            "processes": {str(p): found for p, found in rates.items()}, "megabytes_per_sample": megabytes,
            "appetite": appetite, "write_ms_per_sample": {"pairs": writing[0] * 1e3, "plain": writing[1] * 1e3},
            "error_bounds": {name: packing.error_bound(name).text for name in (*INPUTS, *OUTPUTS)}, "holds": held,
        })
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
