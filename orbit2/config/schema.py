"""The configuration of a run as one Pydantic model that rejects unknown keys. Never reads files (see load.py)."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from orbit2.config.base import Box, Name, Strict
from orbit2.config.sources import SourceName, SourcesConfig
from orbit2.errors import OrbitError, did_you_mean
from orbit2.grid import named
from orbit2.variables import variable

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?")


class Period(Strict):
    start: str = Field(description="First time (ISO 8601 date or date-time, UTC), inclusive.")
    end: str = Field(description="Last time (ISO 8601; a bare date means its whole day), inclusive.")

    @field_validator("start", "end", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """YAML turns a date without quotes into a date."""
        return value.isoformat() if isinstance(value, date) else value

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        for text in (self.start, self.end):
            if not _TIME.fullmatch(text):  # numpy takes "2020" for its first second, and 20200101 for a year
                raise ValueError(f"not a date or date-time such as 2020-01-31 or 2020-01-31T06:00: {text!r}")
        try:
            first, last = self.first, self.last
        except ValueError as error:
            raise ValueError(f"not an ISO 8601 date or date-time ({error})") from None
        if last < first:
            raise ValueError(f"period ends ({self.end}) before it starts ({self.start})")
        return self

    @property
    def first(self) -> np.datetime64:
        """datetime64[s]."""
        return np.datetime64(self.start, "s")

    @property
    def last(self) -> np.datetime64:
        """datetime64[s]; of a bare date its last second."""
        return np.datetime64(self.end, "s") + np.timedelta64(86399 if len(self.end) == 10 else 0, "s")


class Split(Strict):
    """Three blocks of time, in any order, that do not touch: random splits leak."""

    train: Period | None = Field(None, description="Training block; the only one statistics are computed from.")
    validation: Period | None = Field(None, description="Validation block (early stopping, choice of the best checkpoint).")
    test: Period = Field(description="Test block; never seen before evaluation.")

    @property
    def blocks(self) -> dict[str, Period]:
        """The periods that are given, by name."""
        return {n: p for n, p in (("train", self.train), ("validation", self.validation), ("test", self.test)) if p is not None}

    @model_validator(mode="after")
    def _disjoint(self) -> Split:
        blocks = sorted(
            (p.first, p.last, n)
            for n, p in self.blocks.items()
        )
        for (_, end, first), (start, _, second) in pairwise(blocks):
            if start <= end:
                raise ValueError(f"blocks '{first}' and '{second}' overlap; leave a gap between them")
        return self


class DatasetConfig(Strict):
    """Coarse/fine pairs built by retrieve, regrid and statistics.

    Without inputs it is an observation to score predictions against; without outputs it can only be downscaled.
    """

    source: SourceName = Field(
        description="Where outputs (and inputs not listed under input_sources) come from; `sample` is the ERA5 week that ships with orbit2."
    )
    input_sources: dict[SourceName, tuple[str, ...]] = Field({}, description="Inputs that come from another source, by source.")
    inputs: tuple[str, ...] = Field(description="Dynamic input variables (canonical names) on the coarse grid.")
    outputs: tuple[str, ...] = Field(description="Output variables (canonical names) on the fine grid.")
    statics: tuple[str, ...] = Field(("land_sea_mask", "orography", "slope"), description="Static fields on both grids.")
    frequency: Literal["native", "hourly", "daily"] = Field(
        "native", description="Samples: every hour, every day, or what the source holds (sample: 24 frames; ERA5: hours; others: days)."
    )
    coarse_grid: str = Field(
        description="Named coarse grid: `global_<degrees>`, `us_<arc minutes>`, `prism_<arc minutes>`; `@south,north,west,east` cuts one."
    )
    fine_grid: str = Field(description="Named fine grid; its cells must nest in the coarse ones.")
    split: Split = Field(description="Time blocks for training, validation and test.")
    samples_per_part: Annotated[int, Field(ge=1)] | Literal["month"] = Field(
        8, description="Samples built by one regrid job: a multiple of samples_per_shard, or `month`: to the first shard of every month."
    )
    samples_per_shard: int = Field(8, ge=1, description="Samples in one Zarr shard; also how many are in memory at once.")
    min_valid_fraction: float = Field(0.5, gt=0, le=1, description="Least valid area fraction of a target cell (0 to 1).")

    @field_validator("inputs", "outputs", "statics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            variable(name)
        if len(set(names)) != len(names):
            raise ValueError("a variable is listed twice")
        return names

    @model_validator(mode="after")
    def _variables(self) -> DatasetConfig:
        if not self.inputs and not self.outputs:
            raise ValueError("a dataset needs inputs, outputs or both")
        if self.inputs and self.outputs and len(self.split.blocks) < 3:
            raise ValueError("split: a dataset with inputs and outputs needs train, validation and test")
        listed = [name for names in self.input_sources.values() for name in names]
        for name in listed:
            if name not in self.inputs:
                raise ValueError(f"input_sources lists '{name}', which is not among the inputs")
        if len(set(listed)) != len(listed):
            raise ValueError("input_sources lists a variable twice")
        if self.frequency == "hourly" and set(self.sources) - {"era5"}:
            raise ValueError(f"only era5 has hourly fields, not {', '.join(sorted(set(self.sources) - {'era5'}))}")
        if "sample" in self.sources and (len(self.sources) > 1 or self.frequency != "native"):
            raise ValueError("the packaged sample cannot be combined with other sources or averaged to days")
        return self

    @model_validator(mode="after")
    def _gaps(self) -> DatasetConfig:
        """A trailing day reaches 23 hours back: closer blocks would share hours."""
        over_day = [name for name in (*self.inputs, *self.outputs) if "interval: 24 hours" in variable(name).cell_methods]
        if over_day and self.step_hours == 1:
            blocks = sorted((p.first, p.last, n) for n, p in self.split.blocks.items())
            for (_, end, first), (start, _, second) in pairwise(blocks):
                if start - end < np.timedelta64(23 * 3600, "s"):
                    raise ValueError(f"blocks '{first}' and '{second}' are closer than a day, and {over_day[0]} covers 24 hours")
        return self

    @model_validator(mode="after")
    def _geometry(self) -> DatasetConfig:
        named(self.fine_grid).nests_in(named(self.coarse_grid))
        if self.samples_per_part != "month" and self.samples_per_part % self.samples_per_shard:
            raise ValueError(
                f"samples_per_part ({self.samples_per_part}) must be a multiple of samples_per_shard ({self.samples_per_shard})"
            )
        return self

    @property
    def refinement(self) -> int:
        return named(self.fine_grid).nests_in(named(self.coarse_grid))

    @property
    def sources(self) -> tuple[SourceName, ...]:
        """Every source of dynamic fields, the outputs' first."""
        return tuple(dict.fromkeys((self.source, *self.input_sources)))

    def source_of(self, name: str) -> SourceName:
        """Where input `name` comes from."""
        return next((source for source, names in self.input_sources.items() if name in names), self.source)

    @property
    def step_hours(self) -> int:
        """Hours between samples (1 or 24)."""
        if self.frequency == "native":
            return 1 if set(self.sources) <= {"era5", "sample"} else 24
        return 1 if self.frequency == "hourly" else 24


class CompressionConfig(Strict):
    """Adaptive spatial compression: the transformer sees the leaves of a quadtree instead of all tokens (paper section III-B)."""

    mode: Literal["off", "budget", "threshold"] = Field(
        "off", description="`budget`: a fixed number of leaves; `threshold`: as many as the field's edges ask for."
    )
    ratio: float = Field(8.0, ge=1, description="budget: tokens per leaf, at least (leaves = roots + 3 m); 1 = off.")
    threshold: float = Field(0.5, ge=0, description="threshold: split nodes with more edges per token than this (at most 2 patch^2).")
    min_leaf: int = Field(1, ge=1, description="Smallest leaf side in tokens.")
    max_leaf: int = Field(16, ge=1, description="Largest leaf side in tokens (the quadtree's roots): min_leaf times a power of two.")
    auxiliary_weight: float = Field(0.1, gt=0, description="Weight of the loss that teaches the density map where interpolation errs.")

    @model_validator(mode="after")
    def _sides(self) -> CompressionConfig:
        factor, rest = divmod(self.max_leaf, self.min_leaf)
        if rest or factor & (factor - 1) or not factor:
            valid = [self.min_leaf << k for k in range(12)]
            close = sorted(sorted(valid, key=lambda side: abs(side - self.max_leaf))[:2])
            raise ValueError(f"max_leaf ({self.max_leaf}) must be min_leaf ({self.min_leaf}) times a power of two; nearest valid: {close}")
        return self

    @property
    def active(self) -> bool:
        return self.mode == "threshold" or (self.mode == "budget" and self.ratio > 1)


_TRANSFORMER = (
    "embed_dim", "depth", "heads", "mlp_ratio", "decoder_depth", "patch", "position", "table_shape", "time_embedding", "drop_path",
    "dropout", "attention",
)  # fmt: skip
# Keys of the architecture that a kind does not read.
UNUSED: dict[str, tuple[str, ...]] = {
    "reslim": ("width", "levels", "layers"),
    "vit": ("residual_width", "residual_blocks", "compression", "width", "levels", "layers"),
    "unet": (*_TRANSFORMER, "residual_width", "residual_blocks", "compression", "layers"),
    "conv": (*_TRANSFORMER, "residual_width", "residual_blocks", "compression", "levels"),
}
FLASH_HEAD_DIM = 256  # the largest head size of flash-attn


def flash_heads(embed_dim: int) -> list[int]:
    """Numbers of heads that flash-attn can do: embed_dim / heads is a multiple of 8, at most 256."""
    return [h for h in range(1, embed_dim + 1) if embed_dim % (8 * h) == 0 and embed_dim // h <= FLASH_HEAD_DIM]


class ArchitectureConfig(Strict):
    """The network (paper section III; published sizes in config/models)."""

    kind: Literal["reslim", "vit", "unet", "conv"] = Field(
        "reslim", description="Architecture: Reslim, or a baseline on the interpolated FINE grid: ViT, U-Net, plain convolutions."
    )
    embed_dim: int = Field(128, ge=8, description="Embedding width D.")
    depth: int = Field(4, ge=0, description="Transformer blocks.")
    heads: int = Field(4, ge=1, description="Attention heads; must divide embed_dim.")
    mlp_ratio: float = Field(4.0, gt=0, description="Hidden width of a block's MLP over embed_dim.")
    decoder_depth: int = Field(4, ge=0, description="Residual decoder layers (linear + 3x3 depthwise convolution).")
    patch: int = Field(2, ge=1, description="Patch size p in coarse cells (vit: in fine cells).")
    refinement: int = Field(4, ge=1, description="Refinement factor s: fine cells per coarse cell along a side.")
    position: Literal["geographic", "table"] = Field("geographic", description="Position embedding.")
    table_shape: tuple[int, int] = Field((90, 180), description="Tokens (rows, columns) of the `table` position embedding.")
    time_embedding: bool = Field(False, description="Add day of year and hour of day to every token.")
    interpolation: Literal["bilinear", "bicubic"] = Field("bicubic", description="Interpolation of the residual path.")
    residual_width: int = Field(48, ge=0, description="Channels of the residual path's convolutions; 0 leaves pure interpolation.")
    residual_blocks: int = Field(4, ge=0, description="Residual blocks of the residual path.")
    conserve: bool = Field(False, description="Make block means of the output equal the input (where the input is the coarsened target).")
    drop_path: float = Field(0.0, ge=0, lt=1, description="Stochastic depth rate of the last block (linear from 0).")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in the MLPs.")
    attention: Literal["auto", "sdpa", "flash"] = Field(
        "auto",
        description="Kernel: sdpa (PyTorch), flash (flash-attn: GPU, bf16, embed_dim / heads a multiple of 8 up to 256), or what fits.",
    )
    compression: CompressionConfig = Field(
        default_factory=lambda: CompressionConfig(), description="Adaptive spatial compression (reslim)."
    )
    width: int = Field(32, ge=1, description="unet, conv: channels on the fine grid (unet doubles them per level).")
    levels: int = Field(3, ge=1, description="unet: how often the fine grid is halved.")
    layers: int = Field(3, ge=1, description="conv: 3x3 convolutions before the last one.")

    @model_validator(mode="after")
    def _heads(self) -> ArchitectureConfig:
        if self.embed_dim % self.heads:
            valid = [h for h in range(1, self.embed_dim + 1) if self.embed_dim % h == 0]
            close = sorted(valid, key=lambda h: abs(h - self.heads))[:3]
            raise ValueError(f"heads ({self.heads}) must divide embed_dim ({self.embed_dim}); nearest valid: {sorted(close)}")
        if self.attention == "flash" and self.heads not in (valid := flash_heads(self.embed_dim)):
            close = sorted(valid, key=lambda h: abs(h - self.heads))[:3]
            raise ValueError(f"attention: flash needs embed_dim / heads in 8, 16, ... {FLASH_HEAD_DIM}; nearest heads: {sorted(close)}")
        return self

    @model_validator(mode="after")
    def _used(self) -> ArchitectureConfig:
        """A key that this kind does not read keeps its default: nobody should think that it does something."""
        for key in UNUSED[self.kind]:
            if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True):
                raise ValueError(f"`{key}` means nothing to kind '{self.kind}': remove it")
        return self


class TrainConfig(Strict):
    steps: int = Field(400, ge=1, description="Optimiser steps.")
    batch_size: int = Field(4, ge=1, description="GLOBAL batch size (samples per step over all ranks).")
    learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate of AdamW.")
    warmup_steps: int = Field(20, ge=0, description="Steps of linear warm-up before the cosine.")
    weight_decay: float = Field(1e-5, ge=0, description="AdamW weight decay (none on norms, biases, embeddings).")
    betas: tuple[float, float] = Field((0.9, 0.99), description="AdamW beta1, beta2.")
    clip: float = Field(1.0, gt=0, description="Gradient norm limit.")
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the weight average used for validation and kept; 0 = off.")
    loss: Literal["bayesian_tv", "mse", "mae", "huber", "quantile", "spectral", "crps", "perceptual"] = Field(
        "bayesian_tv", description="Training loss (docs/losses.md)."
    )
    tv_weight: float = Field(0.02, ge=0, description="Lambda of the total-variation prior.")
    variable_weights: dict[str, float] = Field({}, description="Loss weight per output variable (default 1).")
    quantile: float = Field(0.5, gt=0, lt=1, description="Level (0 to 1) of the truth's distribution that `quantile` aims at.")
    variable_quantiles: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        {}, description="Level per output variable for `quantile` (default `quantile`)."
    )
    spectral_weight: float = Field(0.1, ge=0, description="Weight of the log-power term that `spectral` adds to the mean square.")
    spectral_segment: int = Field(64, ge=8, description="Longest wavelength (fine cells along a row) that `spectral` compares.")
    ensemble: int = Field(4, ge=2, description="Members of `crps`: forward passes with different dropout; time and memory grow with it.")
    perceptual_weight: float = Field(0.1, ge=0, description="Weight of the feature term that `perceptual` adds to the mean square.")
    perceptual_steps: int = Field(200, ge=1, description="Steps for which the encoder of `perceptual` is trained beforehand.")
    precipitation_threshold: float = Field(
        0.25, ge=0, description="Precipitation (mm or mm/day) at or below this counts as dry for the network."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto = bf16 autocast where the device multiplies bf16 fast.")
    augment: bool = Field(True, description="Physics-respecting augmentation (coarse-grid phase shifts, north-south reflection).")
    shift_probability: float = Field(0.5, ge=0, le=1, description="Share of augmented batches with the coarse grid moved over its truth.")
    validate_every: int = Field(50, ge=1, description="Steps between validations.")
    checkpoint_minutes: float = Field(5.0, gt=0, description="Minutes between periodic checkpoints.")
    checkpoint_every: int = Field(0, ge=0, description="Steps between checkpoints; 0 = by time only.")
    keep_checkpoints: int = Field(2, ge=1, description="Newest checkpoints kept beside the best.")
    patience: int = Field(0, ge=0, description="Validations without improvement before stopping; 0 = never.")
    wall_minutes: float = Field(0.0, ge=0, description="Stop, save and exit 75 after this many minutes; 0 = no limit.")
    compile: Literal["off", "on", "auto"] = Field(
        "off", description="torch.compile of the network: off, on, or on GPUs only (auto); the first step of every shape then takes longer."
    )
    workers: int = Field(0, ge=0, description="Data-loading worker processes.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 = all.")
    seed: int = Field(0, ge=0, description="Seed of weights, sampling and augmentation.")
    deterministic: bool = Field(True, description="Same seed, config and ranks give the same bits on CPU.")


class ModelConfig(Strict):
    """A trained model: foundation pretraining, or fine-tuning of another one."""

    datasets: tuple[Name, ...] = Field(min_length=1, description="Datasets it trains on (keys of `datasets`).")
    finetune_from: Name | None = Field(None, description="Model whose weights it starts from; makes this a finetune job.")
    architecture: ArchitectureConfig | None = Field(None, description="The network; inherited when fine-tuning.")
    region: Box | None = Field(None, description="Train on this box only (south, north, west, east, degrees).")
    outputs: tuple[str, ...] | None = Field(None, description="Subset of output variables; default all.")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig(), description="Optimisation.")

    @model_validator(mode="after")
    def _architecture_or_parent(self) -> ModelConfig:
        if self.architecture is None and self.finetune_from is None:
            raise ValueError("give `architecture`, or `finetune_from` to inherit one")
        if self.architecture is not None and self.finetune_from is not None:
            raise ValueError("a fine-tuned model inherits its architecture: remove `architecture`")
        return self


class DownscaleConfig(Strict):
    """One downscaling task: which model, which samples."""

    model: Name = Field(description="Model to apply (key of `models`).")
    dataset: Name = Field(description="Dataset whose samples are downscaled (key of `datasets`).")
    split: Literal["train", "validation", "test"] = Field("test", description="Time block to downscale.")
    input: Literal["coarse", "fine"] = Field(
        "coarse", description="`coarse`: the pair's input (has a truth); `fine`: the pair's truth, to a still finer grid."
    )
    observations: Name | None = Field(
        None, description="Dataset whose fine fields are the truth, on their own grid; predictions and baselines are averaged to it."
    )
    max_samples: int = Field(0, ge=0, description="Use only the first samples of the block; 0 = all.")
    tile: int = Field(0, ge=0, description="Core tile edge in coarse cells; 0 = no tiles.")
    halo: int = Field(8, ge=0, description="Halo around a tile in coarse cells.")
    cuda_graphs: bool = Field(False, description="Replay the network as a CUDA graph (GPUs only): saves launches on small grids and tiles.")


class EvaluateConfig(Strict):
    protocols: tuple[Literal["standard"], ...] = Field(("standard",), description="Definitions used for the metrics.")
    baselines: tuple[Literal["nearest", "bilinear", "bicubic", "conservative"], ...] = Field(
        ("nearest", "bilinear", "bicubic", "conservative"), description="Interpolations of the same inputs scored beside the model."
    )
    spectra_bands: tuple[tuple[float, float], ...] = Field(
        ((-60.0, -30.0), (-30.0, 30.0), (30.0, 60.0)), description="Latitude bands of zonal spectra (degrees)."
    )
    spectra_boxes: dict[str, Box] = Field({"conus": (32.0, 46.0, 242.0, 278.0)}, description="Boxes of radial spectra.")
    bootstrap: int = Field(0, ge=0, description="Block-bootstrap draws for confidence intervals; 0 = none.")


class DiagnoseConfig(Strict):
    regions: Literal["ar6"] = Field("ar6", description="Region set: the 58 IPCC AR6 reference regions.")
    hovmoller_band: tuple[float, float] = Field((-5.0, 5.0), description="Latitude band averaged in the time-longitude diagram (degrees).")


class ReportConfig(Strict):
    title: str = Field("orbit2 downscaling report", description="Title of the report.")
    map_task: Name | None = Field(None, description="Downscale task shown in the maps; default the first with a truth.")
    frame: int = Field(0, ge=0, description="Index of the dated frame shown in the maps.")
    zoom: Box = Field((30.0, 48.0, 355.0, 20.0), description="Box of the zoomed maps (may cross the 0 meridian).")


class RunConfig(Strict):
    """Everything scientific about one run; machines live in profiles/."""

    label: Name = Field("demo", description="Name of the run and of its results folder.")
    sources: SourcesConfig = Field(default_factory=lambda: SourcesConfig(), description="Where provider files are kept.")
    datasets: dict[Name, DatasetConfig] = Field(min_length=1, description="Paired datasets by name.")
    models: dict[Name, ModelConfig] = Field(min_length=1, description="Models by name, foundation and fine-tuned.")
    downscale: dict[Name, DownscaleConfig] = Field({}, description="Downscaling tasks by name.")
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig(), description="Scores.")
    diagnose: DiagnoseConfig = Field(default_factory=lambda: DiagnoseConfig(), description="Climate diagnostics.")
    report: ReportConfig = Field(default_factory=lambda: ReportConfig(), description="The report.")

    @model_validator(mode="after")
    def _references(self) -> RunConfig:
        def need(kind: str, table: object, key: str, user: str) -> None:
            names = list(table)  # type: ignore[call-overload]
            if key not in names:
                hint = did_you_mean(key, names) or f"known: {', '.join(names)}"
                raise ValueError(f"{user} names unknown {kind} '{key}'; {hint}")

        for name, model in self.models.items():
            for dataset in model.datasets:
                need("dataset", self.datasets, dataset, f"models.{name}")
                if not self.datasets[dataset].inputs or not self.datasets[dataset].outputs:
                    lacks = "outputs" if self.datasets[dataset].inputs else "inputs"
                    raise ValueError(f"models.{name} trains on '{dataset}', which has no {lacks}")
            if model.finetune_from is not None:
                need("model", self.models, model.finetune_from, f"models.{name}.finetune_from")
            architecture = self.architecture_of(name)
            if model.train.loss == "crps" and not (architecture.dropout or architecture.drop_path):
                raise ValueError(f"models.{name}: loss `crps` draws its members by dropout: set architecture.dropout or drop_path above 0")
            for dataset in model.datasets:
                factor = self.datasets[dataset].refinement
                if factor != architecture.refinement:
                    raise ValueError(f"models.{name}: refinement {architecture.refinement} does not match dataset '{dataset}' ({factor})")
                for output in model.outputs or ():
                    if output not in self.datasets[dataset].outputs:
                        raise ValueError(f"models.{name}.outputs: '{output}' is not an output of dataset '{dataset}'")
        for name, task in self.downscale.items():
            need("model", self.models, task.model, f"downscale.{name}")
            need("dataset", self.datasets, task.dataset, f"downscale.{name}")
            if task.split not in self.datasets[task.dataset].split.blocks:
                raise ValueError(f"downscale.{name}.split: dataset '{task.dataset}' has no {task.split} block")
            if not self.datasets[task.dataset].inputs:
                raise ValueError(f"downscale.{name}.dataset: '{task.dataset}' has no inputs")
            if task.observations is not None:
                need("dataset", self.datasets, task.observations, f"downscale.{name}.observations")
                if task.input != "coarse":
                    raise ValueError(f"downscale.{name}.observations: only with `input: coarse`")
                if not self.datasets[task.observations].outputs:
                    raise ValueError(f"downscale.{name}.observations: '{task.observations}' has no outputs")
        if self.report.map_task is not None:
            need("downscale task", self.downscale, self.report.map_task, "report.map_task")
        return self

    def architecture_of(self, name: str) -> ArchitectureConfig:
        """The architecture of model `name`, followed through its fine-tuning ancestors."""
        seen = [name]
        while True:
            model = self.models[seen[-1]]
            if model.architecture is not None:
                return model.architecture
            parent = model.finetune_from
            assert parent is not None
            if parent in seen or parent not in self.models:
                raise OrbitError("models fine-tune from each other in a circle", where=f"models.{name}", got=" -> ".join([*seen, parent]))
            seen.append(parent)
