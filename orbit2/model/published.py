"""The network of the weights that the ORBIT-2 authors published (`res_slimvit`, arXiv 2505.04802): what they are read into, exactly.

Beside `reslim`, which follows the paper: tokens are placed by a table that is resized, resolution is a line in km, the head's numbers are
laid out as the weights were trained with (see `ScrambledHead`), convolutions pad with zeros, also across the date line, and the residual
path reads the outputs' own inputs and the static fields without interpolation. Aggregation and blocks are Reslim's rooms: the same
mathematics. Letters as in reslim.py; D embedding, m = s refinement.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.model.aggregate import VariableAggregation
from orbit2.model.blocks import Blocks
from orbit2.model.embed import TablePosition
from orbit2.model.gaps import Gapped, Gaps, MissingFlags
from orbit2.model.geometry import Geometry, pad, select, to_multiple
from orbit2.model.norm import Norm
from orbit2.model.residual import ResidualPath

AIR, SEA = "2m_temperature", "sea_surface_temperature"
BAND_TOKENS = 8192  # of a band of rows whose variables are aggregated at once: memory goes with it, never with tokens x variables x D


class Published(Gapped):
    """y = conv(head(ViT(x))) + convolutions(outputs' own inputs, statics), all of it in normalised space: no interpolation is added.

    Arguments and buffers are Reslim's. `statics` are read on the COARSE grid, in their order, after the outputs; every output must be an
    input. Where the sea's temperature is among the inputs beside the air's, it is no variable of its own: it takes that one's place where
    it is known, as in the training (both are normalised alike). `config.km` is what the resolution embedding is given (0: the grid's own
    spacing). Raises OrbitError for an output that is none.
    """

    output_moments: Tensor

    def __init__(self, config: ArchitectureConfig, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str]) -> None:
        super().__init__()
        self.config, self.inputs, self.outputs, self.statics = config, tuple(inputs), tuple(outputs), tuple(statics)
        for name in (*outputs, *statics):
            self._known(name, self.inputs)
        width, count = config.embed_dim, len(self.outputs)
        self.vocabulary = tuple(name for name in self.inputs if name != SEA or AIR not in self.inputs)
        self.aggregate = VariableAggregation(self.vocabulary, config.patch, width, config.heads)
        self.position = ResizedTable(width, config.table_shape)
        self.resolution = LinearResolution(width)
        self.blocks = Blocks.of(config)
        self.norm = Norm(width)
        self.decoder = ScrambledHead(width, count, config.decoder_depth, config.patch, config.refinement)
        self.smooth = nn.Conv2d(count, count, 3, padding=1)
        self.enter = nn.Conv2d(count + len(self.statics), config.cnn_ratio * config.refinement**2, 3, padding=1)
        self.leave = nn.Conv2d(config.cnn_ratio, count, 3, padding=1)
        # has no weights: the interpolation that training and scores measure against
        self.residual = ResidualPath(self.inputs, self.statics, self.outputs, config.refinement, config.interpolation, 0, 0)
        self.register_buffer("output_scale", torch.ones(count))
        self.register_buffer("output_moments", torch.tensor([[0.0, 1.0]]).repeat(count, 1))

    def forward(
        self,
        coarse: Tensor,
        statics: Tensor | None,
        geometry: Geometry,
        variables: Sequence[str] | None = None,
        clock: Tensor | None = None,
        gaps: Gaps | None = None,
    ) -> Tensor:
        """coarse [B, V, H, W] (normalised, NaN = missing), named `variables` (default: all inputs) -> [B, C, sH, sW] (normalised).

        Fine statics and the clock are not read; `gaps`: what is missing, where the caller knows. Raises OrbitError for a variable that it
        does not know, and without an output's own input or a static.
        """
        coarse, names = self.merged(coarse, tuple(variables) if variables is not None else self.inputs)
        whole = not (self.gaps(coarse, names) if gaps is None else gaps).inputs
        tokens = self.norm(self.blocks(self.embed(coarse, names, geometry, whole)))
        height, width = (size * self.config.refinement for size in coarse.shape[-2:])
        fine = self.decoder(tokens, self.grid(coarse))[..., :height, :width]
        result: Tensor = self.smooth(fine) + self.convolved(coarse, names)
        return result

    def merged(self, coarse: Tensor, names: tuple[str, ...]) -> tuple[Tensor, tuple[str, ...]]:
        """Fields and names without the sea's temperature, which is put where it is known."""
        if SEA not in names or SEA in self.vocabulary:
            return coarse, names
        if AIR not in names:
            raise OrbitError("the sea's temperature stands for the air's, which is not given", where="inputs", got=SEA,
                             allowed=f"{AIR} beside it", hint="give the air's temperature too, or leave the sea's out")  # fmt: skip
        sea, air = coarse[:, names.index(SEA)], names.index(AIR)
        fields = [
            torch.where(torch.isfinite(sea), sea, coarse[:, i]) if i == air else coarse[:, i] for i, n in enumerate(names) if n != SEA
        ]
        return torch.stack(fields, 1), tuple(name for name in names if name != SEA)

    def grid(self, coarse: Tensor) -> tuple[int, int]:
        """Rows and columns of tokens."""
        height, width = (-(-size // self.config.patch) for size in coarse.shape[-2:])
        return height, width

    def embed(self, coarse: Tensor, names: Sequence[str], geometry: Geometry, whole: bool) -> Tensor:
        """Tokens [B, N, D] as they enter the blocks. `whole`: no input misses anything."""
        tokens = self.aggregated(coarse, names, whole)
        added: Tensor = tokens + self.position.resized(self.grid(coarse)) + self.resolution(self.config.km or geometry.coarse_km)
        return added.to(tokens.dtype)

    def aggregated(self, coarse: Tensor, names: Sequence[str], whole: bool) -> Tensor:
        """Tokens [B, N, D] of all variables together, a band of rows after the other."""
        rows, columns = self.grid(coarse)
        band = max(BAND_TOKENS // columns, 1) * self.config.patch
        east = to_multiple(coarse.shape[-1], self.config.patch)
        fields = pad(coarse, to_multiple(coarse.shape[-2], self.config.patch), east, False)
        made = [self.aggregate(fields[..., first : first + band, :], names, False, whole)
                for first in range(0, rows * self.config.patch, band)]  # fmt: skip
        return made[0] if len(made) == 1 else torch.cat(made, 1)

    def convolved(self, coarse: Tensor, names: Sequence[str]) -> Tensor:
        """The residual path [B, C, sH, sW]; missing cells are 0 in it, the mean of the training."""
        read = [*self.outputs, *self.statics]
        for name in read:
            self._known(name, names)
        fields = torch.nan_to_num(select(coarse, [list(names).index(name) for name in read], 1))
        result: Tensor = self.leave(F.pixel_shuffle(F.gelu(self.enter(fields)), self.config.refinement))
        return result

    def gaps_from(self, missing: MissingFlags, variables: Sequence[str]) -> Gaps:
        """The sea's temperature may miss what it likes: it is put where it is known."""
        kept = [i for i, name in enumerate(variables) if name != SEA or SEA in self.vocabulary]
        return super().gaps_from(MissingFlags(tuple(missing.coarse[i] for i in kept)), [variables[i] for i in kept])

    def missing(self, coarse: Tensor, variables: Sequence[str], periodic: bool, gaps: Gaps | None = None) -> Tensor | None:
        """The same, without the sea's temperature."""
        coarse, variables = self.merged(coarse, tuple(variables))
        return super().missing(coarse, variables, periodic, gaps)

    def _known(self, name: str, names: Sequence[str]) -> None:
        if name not in names:
            raise OrbitError("this kind of model reads its outputs and statics among its inputs", where="inputs", got=f"no {name}",
                             allowed=", ".join(names), hint="give it among the inputs")  # fmt: skip


class ResizedTable(TablePosition):
    """A learned table [h0, w0, D], resized to the grid of tokens where that is another one: bicubic (a = -0.75), as they are run."""

    def resized(self, size: tuple[int, int]) -> Tensor:
        """[1, N, D] for a grid of tokens (rows, columns)."""
        if self.table.shape[:2] == size:
            return self.table.flatten(0, 1)[None]
        table = self.table.permute(2, 0, 1)[None].float()
        return F.interpolate(table, size, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)


class LinearResolution(nn.Module):
    """weight x (spacing of the input in km) + bias -> [D]: the same vector for every token, in float32 whatever the autocast."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(embed_dim))
        self.bias = nn.Parameter(torch.zeros(embed_dim))

    def forward(self, km: float) -> Tensor:
        return self.weight * km + self.bias


class ScrambledHead(nn.Module):
    """`depth` x (linear, GELU) and a linear layer per token, laid out on the fine grid.

    The layout is not the token's own place. All tokens' C m^2 p^2 numbers, row by row, are read as (m h, m w, p, p, C): row and column of
    a patch of the FINE grid, row and column in it, channel. So one token fills m^2 consecutive p x p patches of one raster line, far from
    where its own cells lie, and a line of the fine grid is made by tokens of a single coarse row only every m-th time. The intended layout
    would be (h, w, m p, m p, C). The weights learned to live with this one (attention carries what is needed to where it is read), so
    anything else would be another function.
    """

    def __init__(self, embed_dim: int, channels: int, depth: int, patch: int, refinement: int) -> None:
        super().__init__()
        hidden = [layer for _ in range(depth) for layer in (nn.Linear(embed_dim, embed_dim), nn.GELU())]
        self.head = nn.Sequential(*hidden, nn.Linear(embed_dim, channels * (refinement * patch) ** 2))
        self.channels, self.patch, self.refinement = channels, patch, refinement

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens [B, N, D] of a `grid` (rows, columns) -> [B, C, m p rows, m p columns]."""
        m, p = self.refinement, self.patch
        patches = self.head(tokens).reshape(len(tokens), m * grid[0], m * grid[1], p, p, self.channels)
        fine: Tensor = patches.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), self.channels, m * p * grid[0], m * p * grid[1])
        return fine
