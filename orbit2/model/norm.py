"""LayerNorm (Ba et al. 2016) that hands on the type that it is given. Never computes its sums in less than float32."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.model.precision import exact


class Norm(nn.LayerNorm):
    """nn.LayerNorm, whose weights take the type of the values.

    Under autocast a GPU's own computes in float32 and gives float32, twice the bytes for whatever reads it, and for the residual that it is
    added to; its kernel takes no weights of another type. Mean and variance of bfloat16 values are float32 inside it.
    """

    def forward(self, values: Tensor) -> Tensor:
        with exact(values):
            return F.layer_norm(values, self.normalized_shape, self.weight.to(values.dtype), self.bias.to(values.dtype), self.eps)
