"""What the noise of a model's members is multiplied by: of SCALES the one with the least CRPS on the validation block, after training.

A model that has learned its training samples too well errs more on others than its members say. With decades of samples the scale stays
near 1. Runs over the weights that are delivered, with the site memory that goes with them. Never looks at a test sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orbit2.data.dataset import Batch
from orbit2.data.noisy import Noise
from orbit2.model.reslim import Reslim
from orbit2.model.site import Maps, limited, settled
from orbit2.parallel.reduce import any_rank, from_first, total
from orbit2.parallel.watch import tick
from orbit2.signals import StopRequest
from orbit2.train.build import Setup
from orbit2.train.losses.ensemble import fair_crps, least
from orbit2.train.site import Memories
from orbit2.train.validation import SCORED, Held, interpolated, summed

SCALES = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3)
LOW, HIGH = 2, 5  # of SCALES: those between are scored first, those beyond only where the best lies at an end (CRPS has one least)
MEMBERS = 16
JUDGES = 16  # samples of a validation block, at most
WIDE = 1.2  # a scale above it says that the model knows its training samples too well


@dataclass(frozen=True)
class Fitted:
    """`scale`, and the scores of those of SCALES that were asked: fair CRPS of MEMBERS / mean absolute error of the interpolation, over
    variables."""

    scale: float
    scores: dict[float, float]
    samples: int

    @property
    def about(self) -> dict[str, Any]:
        """What config.json says of it."""
        return {"members": MEMBERS, "judged_samples": self.samples,
                "scores": {f"{scale:g}": round(score, 5) for scale, score in sorted(self.scores.items())}}  # fmt: skip

    def __str__(self) -> str:
        told = f"noise scale {self.scale:g}: CRPS {self.scores[self.scale]:.4f} of the interpolation's error on the validation block"
        told += f" ({self.scores[1.0]:.4f} at 1)" if self.scale != 1 and 1.0 in self.scores else ""
        return told + (f"; {narrow(self.scale)}" if self.scale > WIDE else "")


def narrow(scale: float) -> str:
    """What a wide scale means."""
    return (f"a scale of {scale:g} says that the model errs much more on new samples than on those it learned from: its members' spread is "
            "set by few validation samples; train on more, or for fewer steps")  # fmt: skip


def fit(setup: Setup, memories: Memories, stop: StopRequest | None = None) -> Fitted | None:
    """The scale of the noise. Collective: every rank gets the same. None when `stop` came in between, on any rank."""
    scores: dict[float, float] = {}
    asked = SCALES[LOW:HIGH]
    while asked:
        if (found := _scored(setup, memories, asked, stop)) is None:
            return None
        scores |= found
        best = min(sorted(scores), key=scores.__getitem__)
        beyond = SCALES[:LOW][::-1] if best == min(scores) else SCALES[HIGH:] if best == max(scores) else ()
        asked = tuple(one for one in beyond if one not in scores)
    return Fitted(best, scores, sum(min(len(pairs.indices), JUDGES) for pairs in setup.validation))


@torch.no_grad()
def _scored(setup: Setup, memories: Memories, scales: Sequence[float], stop: StopRequest | None) -> dict[float, float] | None:
    """Of each of `scales`; None once `stop` came."""
    model, mesh = setup.model.eval(), setup.mesh
    assert isinstance(model, Reslim)
    size = -(-setup.config.batch_size // mesh.sizes.readers // setup.config.accumulate)
    noise = Noise(model.config.noise.channels, MEMBERS)
    held = Held(setup.validation, JUDGES, size, mesh.part, mesh.sizes.data, setup.cutting, noise)
    sums = torch.zeros(len(scales) + 1, len(setup.validation), len(setup.outputs), dtype=torch.float64, device=setup.here.device)
    for which, pieces in held.read(setup.config.workers, setup.here.device):
        if any_rank(bool(stop)):
            return None
        tick("noise scale")
        pairs = setup.validation[which]
        dry, memory = least(setup.outputs, pairs.normaliser).to(setup.here.device), memories.get(pairs.name)
        for piece in pieces:
            batch = piece.to(setup.here.device)
            boxes = [box.finer(piece.view.factor) for box in piece.boxes]
            maps = None if memory is None or memory.maps is None else [memory.under(box).to(setup.here.device) for box in boxes]
            base = interpolated(model, batch)
            batch.fine = torch.where(torch.isfinite(base), batch.fine, torch.nan)
            sums[-1, which] += summed((torch.maximum(base, dry) - batch.fine).abs(), batch)
            for row, members in enumerate(_scaled(setup, model, batch, scales)):
                made = members if maps is None else remembered(members, batch, model, maps)
                sums[row, which] += summed(fair_crps(torch.maximum(made, dry).transpose(0, 1), batch.fine), batch)
    sums = total(sums, mesh.data)
    ratios = torch.where(sums[-1] > 0, sums[:-1] / sums[-1].clamp_min(1e-30), torch.nan)
    return dict(zip(scales, from_first(ratios.nanmean(1).nanmean(1).tolist()), strict=True))  # every dataset, then every variable alike


def _scaled(setup: Setup, model: Reslim, batch: Batch, scales: Sequence[float]) -> Iterator[Tensor]:
    """Members [B, M, C, sH, sW] of a batch for each of `scales`, a few at a time through the network."""
    noise = batch.noise
    assert noise is not None
    arguments = (batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
    half = torch.autocast(setup.here.device.type, setup.dtype, enabled=setup.dtype is not None)
    with half:
        trunk = None if setup.mesh.split else model.trunk(*arguments)  # weights that are spread are gathered by `forward` alone
    for scale in scales:
        with half:
            parts = [model(*arguments, noise=scale * part) if trunk is None else model.members(trunk, scale * part)
                     for part in torch.split(noise, SCORED, 1)]  # fmt: skip
        yield torch.cat(parts, 1).float()


def remembered(members: Tensor, batch: Batch, model: Reslim, maps: Sequence[Maps]) -> Tensor:
    """Members [B, M, C, sH, sW] with the site memory of their windows: the same map added to each, then conserved."""
    moments, config, made = model.output_moments, model.config, []
    for k, (sample, one) in enumerate(zip(members, maps, strict=True)):
        count = len(sample)
        added = one.added(limited(sample, model.outputs, moments), batch.clock[k : k + 1].expand(count, -1))
        coarse = batch.coarse[k : k + 1].float().expand(count, -1, -1, -1)
        place = batch.geometry.one(k).expand(count)
        made.append(settled(added, coarse, batch.variables, model.outputs, place, config.refinement, moments, config.conserve))
    return torch.stack(made)


def told(about: Mapping[str, Any]) -> list[str]:
    """What the card says of the members; nothing of a model without."""
    if "noise" not in about:
        return []
    scale, entry = about["noise_scale"], about["noise"]
    score = entry["scores"][f"{scale:g}"]
    lines = ["", "## Members", "",
             "Noise by place makes as many equally likely members as are asked for; a member is the same whatever is drawn with it.",
             f"It is multiplied by {scale:g}: of {min(SCALES):g} to {max(SCALES):g} what has the least CRPS of {entry['members']} members",
             f"on {entry['judged_samples']} validation samples: {score:.3f} of the interpolation's absolute error."]  # fmt: skip
    return lines + ([f"**Too sure on its training samples:** {narrow(scale)}."] if scale > WIDE else [])
