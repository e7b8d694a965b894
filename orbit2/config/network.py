"""The `architecture` and `train` sections: what the network is and how it is optimised. Never builds anything."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orbit2.config.base import Later, Machine, Strict

Conserve = bool | Literal["additive", "multiplicative", "softmax"]


class CompressionConfig(Strict):
    """Adaptive spatial compression: the transformer sees the leaves of a quadtree instead of all tokens (paper section III-B)."""

    mode: Literal["off", "budget", "threshold"] = Field(
        "off", description="`budget`: a fixed number of leaves; `threshold`: as many as the field's edges ask for."
    )
    ratio: float = Field(8.0, ge=1, description="budget: tokens per leaf, at least (leaves = roots + 3 m); 1 = off.")
    threshold: float = Field(
        1.0,
        ge=0,
        description="threshold: split nodes with more edges per token than this. A whole field has about 1: 1.0 gives about 5 times fewer "
        "leaves than tokens (4 to 9 on the demo), 0.75 twice fewer; above 1.25 whole roots remain unless max_leaf is 4 or 8.",
    )
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


class NoiseConfig(Strict):
    """Noise that makes members of a prediction: N(0, 1) fields on the fine grid that change the decoder and the residual path."""

    channels: int = Field(0, ge=0, description="Noise fields on the fine grid (reslim); 0 = none, and the model has no members.")
    hours: float = Field(
        0.0, ge=0, description="Hours over which a member's noise changes into another: neighbouring times are then alike (6 is fair for "
        "hourly data); 0 = every time has its own.",
    )


_TRANSFORMER = (
    "embed_dim", "depth", "heads", "mlp_ratio", "decoder_depth", "patch", "position", "table_shape", "time_embedding", "drop_path",
    "dropout", "attention",
)  # fmt: skip
_PUBLISHED = ("cnn_ratio", "km")
_OWN = ("residual_width", "residual_blocks", "compression", "noise")
# Keys of the architecture that a kind does not read.
UNUSED: dict[str, tuple[str, ...]] = {
    "reslim": ("width", "levels", "layers", *_PUBLISHED),
    "vit": (*_OWN, "width", "levels", "layers", *_PUBLISHED),
    "unet": (*_TRANSFORMER, *_OWN, "layers", *_PUBLISHED),
    "conv": (*_TRANSFORMER, *_OWN, "levels", *_PUBLISHED),
    "orbit2": (*_OWN, "position", "time_embedding", "conserve", "width", "levels", "layers"),
}
FLASH_HEAD_DIM = 256  # the largest head size of flash-attn


def flash_heads(embed_dim: int) -> list[int]:
    """Numbers of heads that flash-attn can do: embed_dim / heads is a multiple of 8, at most 256."""
    return [h for h in range(1, embed_dim + 1) if embed_dim % (8 * h) == 0 and embed_dim // h <= FLASH_HEAD_DIM]


class ArchitectureConfig(Strict):
    """The network (paper section III; published sizes in config/models)."""

    kind: Literal["reslim", "vit", "unet", "conv", "orbit2"] = Field(
        "reslim",
        description="Architecture: Reslim; a baseline on the interpolated FINE grid: ViT, U-Net, plain convolutions; or orbit2, the "
        "network of the published ORBIT-2 weights (docs/published_weights.md).",
    )
    embed_dim: int = Field(128, ge=8, description="Embedding width D.")
    depth: int = Field(4, ge=0, description="Transformer blocks.")
    heads: int = Field(4, ge=1, description="Attention heads; must divide embed_dim.")
    mlp_ratio: float = Field(4.0, gt=0, description="Hidden width of a block's MLP over embed_dim.")
    decoder_depth: int = Field(4, ge=0, description="Residual decoder layers (linear + 3x3 depthwise convolution).")
    patch: int = Field(2, ge=1, description="Patch size p in coarse cells (vit: in fine cells).")
    refinement: int = Field(4, ge=1, description="Refinement factor s: fine cells per coarse cell along a side.")
    position: Literal["geographic", "table"] = Field("geographic", description="Position embedding.")
    table_shape: tuple[int, int] = Field(
        (90, 180), description="Tokens (rows, columns) of the `table` position embedding (orbit2: before it is resized)."
    )
    time_embedding: bool = Field(False, description="Add day of year and hour of day to every token.")
    interpolation: Literal["bilinear", "bicubic"] = Field("bicubic", description="Interpolation of the residual path.")
    residual_width: int = Field(48, ge=0, description="Channels of the residual path's convolutions; 0 leaves pure interpolation.")
    residual_blocks: int = Field(4, ge=0, description="Residual blocks of the residual path.")
    conserve: Conserve = Field(
        False,
        description="Make block means of the output equal the input (where the input is the coarsened target): true, rain only when "
        "predicting; or a layer, in training too (docs/model.md).",
    )
    drop_path: float = Field(0.0, ge=0, lt=1, description="Stochastic depth rate of the last block (linear from 0).")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in the MLPs.")
    attention: Machine[Literal["auto", "sdpa", "flash"]] = Field(
        "auto",
        description="Kernel: sdpa (PyTorch), flash (flash-attn: GPU, bf16, embed_dim / heads a multiple of 8 up to 256), or what fits. "
        "The tests check what flash-attn is given, on stand-ins, and do not run it.",
    )
    compression: CompressionConfig = Field(
        default_factory=lambda: CompressionConfig(), description="Adaptive spatial compression (reslim)."
    )
    noise: Later[NoiseConfig] = Field(NoiseConfig(), description="Noise for members (reslim; docs/model.md).")
    width: int = Field(32, ge=1, description="unet, conv: channels on the fine grid (unet doubles them per level).")
    levels: int = Field(3, ge=1, description="unet: how often the fine grid is halved.")
    layers: int = Field(3, ge=1, description="conv: 3x3 convolutions before the last one.")
    cnn_ratio: Later[int] = Field(4, ge=1, description="orbit2: channels of the residual path on the fine grid.")
    km: Later[float] = Field(
        0.0, ge=0, description="orbit2: spacing of the inputs (km) that the network is told; 0 = that of the grid."
    )

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


class MeshConfig(Strict):
    """How the ranks share the work: ddp x tiles x fsdp x sp x tp of them (docs/parallel.md). With one rank nothing is split."""

    ddp: Machine[int] = Field(0, ge=0, description="Copies that share a step's samples; 0 = as many as the other axes leave.")
    tiles: Machine[int] = Field(1, ge=1, description="Ranks that share the tiles of a sample (needs train.tile).")
    fsdp: Machine[int] = Field(1, ge=1, description="Ranks that parameters, gradients and optimiser state are divided among.")
    sp: Machine[int] = Field(1, ge=1, description="Ranks that share a sample's tokens in the blocks (Ulysses); divides the heads.")
    tp: Machine[int] = Field(1, ge=1, description="Ranks that share the hidden width of the blocks (tensor parallel); divides the heads.")
    channels: Machine[bool] = Field(False, description="Share the input variables over the tp ranks too (exact channel parallelism).")


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
    spectral_weight: float = Field(
        0.1, ge=0, description="Weight of the log-power term that `spectral` adds to the mean square, `crps` to the CRPS."
    )
    spectral_segment: int = Field(64, ge=8, description="Longest wavelength (fine cells along a row) that `spectral` and `crps` compare.")
    ensemble: int = Field(4, ge=2, description="Members of a sample for `crps`: 2 are enough; time and memory grow with them.")
    crps_alpha: Later[float] = Field(
        0.95, ge=0, le=1, description="`crps`: 1 is the fair score, in which one of two members may be wrong at no cost; less: almost fair."
    )
    difference_weight: Later[float] = Field(1.0, ge=0, description="`crps`: weight of the CRPS of differences between neighbouring cells.")
    rain_weight: Later[float] = Field(0.4, ge=0, description="`crps`: weight of the CRPS of rain in sqrt(mm), which sees the heavy tail.")
    freeze_trunk: Later[bool] = Field(
        False, description="`crps`: train the decoder and the residual path alone; the transformer and what leads into both keep their "
        "weights, at half the cost of a step.",
    )
    perceptual_weight: float = Field(0.1, ge=0, description="Weight of the feature term that `perceptual` adds to the mean square.")
    perceptual_steps: int = Field(200, ge=1, description="Steps for which the encoder of `perceptual` is trained beforehand.")
    precipitation_threshold: float = Field(
        0.25, ge=0, description="Precipitation (mm or mm/day) at or below this counts as dry for the network; 0 with `conserve`."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto = bf16 autocast where the device multiplies bf16 fast.")
    augment: bool = Field(True, description="Physics-respecting augmentation (coarse-grid phase shifts, north-south reflection).")
    shift_probability: float = Field(0.5, ge=0, le=1, description="Share of augmented batches with the coarse grid moved over its truth.")
    site_memory: Later[bool] = Field(
        False, description="After training, learn what the model gets wrong in every cell of the training grid, as far as that helps on "
        "the validation block; it is added back on that grid only (docs/model.md).",
    )
    choose_by: Later[Literal["error", "error_and_tail"]] = Field(
        "error", description="What the weights that are kept (and `patience`) go by. error: the validation score, RMSE over that of "
        "interpolation, of members CRPS. error_and_tail: the mean of it and the same ratio of RMSE of max(x, 99 % quantile of the training "
        "truth), over variables: a smooth mean that misses extremes is no best model then.",
    )
    validate_every: int = Field(50, ge=1, description="Steps between validations.")
    validate_samples: int = Field(
        256, ge=0, description="Samples of each dataset's validation block that a validation scores, spread over the block; 0 = all."
    )
    checkpoint_minutes: Machine[float] = Field(5.0, gt=0, description="Minutes between periodic checkpoints.")
    checkpoint_every: Machine[int] = Field(0, ge=0, description="Steps between checkpoints; 0 = by time only.")
    checkpoint_background: Machine[bool] = Field(
        True, description="Go on training while a checkpoint is written, from a copy of the state in host memory."
    )
    keep_checkpoints: Machine[int] = Field(2, ge=1, description="Newest checkpoints kept beside the best.")
    target: Machine[float] = Field(
        0.0, ge=0, description="Validation loss (RMSE over that of interpolation) whose first reaching is timed; stops nothing; 0 = none."
    )
    patience: int = Field(0, ge=0, description="Validations without improvement before stopping; 0 = never.")
    wall_minutes: Machine[float] = Field(0.0, ge=0, description="Stop, save and exit 75 after this many minutes; 0 = no limit.")
    tile: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        0, description="Train on tiles: edge of their core in coarse cells, or [rows, columns]; 0 = the whole side (docs/model.md)."
    )
    halo: int = Field(8, ge=0, description="Coarse cells of context around a training tile's core, which the loss does not count.")
    tiles_per_sample: int = Field(0, ge=0, description="Tiles of a sample that a step trains on, drawn at random; 0 = all of them.")
    compile: Machine[Literal["off", "on", "auto"]] = Field(
        "off", description="torch.compile of the network's parts and the loss: off, on, or on GPUs only (auto); first steps take longer."
    )
    cuda_graphs: Machine[bool] = Field(
        False, description="Replay a step's passes as a CUDA graph, one for each shape of batches (one GPU): saves launches."
    )
    mesh: Machine[MeshConfig] = Field(default_factory=lambda: MeshConfig(), description="How the ranks share the work.")
    checkpointing: Machine[Literal["none", "blocks", "all"]] = Field(
        "none", description="Activations computed again in the backward pass: of the blocks, or of all; less memory, a third more time."
    )
    accumulate: Machine[int] = Field(
        1, ge=1, description="Parts that a rank's share of a step is computed in, one after the other: less memory, the same step."
    )
    communication_step: Machine[int] = Field(
        8, ge=0, description="Step of a try that is profiled where there are several ranks, for its communication in timing.json; 0 = none."
    )
    workers: Machine[int] = Field(0, ge=0, description="Data-loading worker processes.")
    threads: Machine[int] = Field(0, ge=0, description="CPU threads; 0 = as many as a step is worth, of those that the job has.")
    seed: int = Field(0, ge=0, description="Seed of weights, sampling and augmentation.")
    deterministic: bool = Field(True, description="Same seed, config and ranks give the same bits on CPU.")

    @property
    def tiled(self) -> bool:
        return any(self.tile) if isinstance(self.tile, tuple) else self.tile > 0

    @model_validator(mode="after")
    def _choice(self) -> TrainConfig:
        if self.choose_by == "error_and_tail" and self.loss == "crps":
            raise ValueError("members are chosen by their CRPS alone: remove `choose_by`")
        return self

    @model_validator(mode="after")
    def _tiles(self) -> TrainConfig:
        if self.tiles_per_sample and not self.tiled:
            raise ValueError("`tiles_per_sample` means nothing without `tile`: set the edge of a tile's core")
        return self
