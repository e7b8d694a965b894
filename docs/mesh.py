"""Draws docs/mesh.png (`make docs`): the ranks of a mesh on two nodes, and what each axis shares out."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from orbit2.parallel.mesh import Sizes

SHAPE = Sizes(ddp=2, fsdp=4, tp=2)
INK, FIRST, SECOND, PALE = "#22303c", "#1b6ca8", "#e08e45", "#dfe6ec"
LINKS = {"tp": "#d1495b", "fsdp": "#1b6ca8", "ddp": "#5b8c5a"}
SHARES = ["#a9cbe8", "#f4d19b", "#bfe0b8", "#e3c1dd"]
AXES = {
    "ddp": ("samples", "gradients,\nonce a step"),
    "tiles": ("the tiles of\na sample", "gradients,\nonce a step"),
    "fsdp": ("parameters, gradients,\noptimiser, average", "parameters of a block,\nbefore it is used"),
    "sp": ("tokens in the blocks;\nheads in attention", "two exchanges\na block"),
    "tp": ("hidden width: columns,\nthen rows", "two sums\na block"),
    "channels": ("input variables,\nover the tp ranks", "one sum of tokens\na step"),
}


def ranks(axes: Axes) -> None:
    """Two nodes of eight GPUs: a square is a rank, its colour what it reads."""
    places = {}
    for rank in range(SHAPE.world):
        place = SHAPE.place(rank)
        places[rank] = (6.1 * place["ddp"] + 1.25 * place["fsdp"], -1.25 * place["tp"])
    for node in range(SHAPE.ddp):
        axes.add_patch(FancyBboxPatch((6.1 * node - 0.45, -1.7), 4.65, 2.2, boxstyle="round,pad=0.15", facecolor="white", edgecolor="0.6"))
        axes.text(6.1 * node - 0.45, 0.75, f"node {node}", color=INK, fontsize=10, va="bottom")
    for rank, (x, y) in places.items():
        place = SHAPE.place(rank)
        for axis, step in (("tp", 1), ("fsdp", SHAPE.tp)):
            if place[axis] + 1 < getattr(SHAPE, axis):
                there = places[rank + step]
                axes.plot([x, there[0]], [y, there[1]], color=LINKS[axis], linewidth=6 if axis == "tp" else 3, zorder=1)
    for y in (0.0, -1.25):
        axes.plot([4.35, 5.5], [y, y], color=LINKS["ddp"], linewidth=1.5, linestyle=(0, (3, 2)), zorder=0)
    axes.text(4.93, -0.62, "ddp", color=LINKS["ddp"], fontsize=10, ha="center", va="center")
    axes.text(0.62, 0.12, "fsdp", color=LINKS["fsdp"], fontsize=8, ha="center", va="bottom")
    axes.text(0.14, -0.62, "tp", color=LINKS["tp"], fontsize=9, va="center")
    for rank, (x, y) in places.items():
        place = SHAPE.place(rank)
        colour = SHARES[place["fsdp"]]
        axes.add_patch(Rectangle((x - 0.36, y - 0.36), 0.72, 0.72, facecolor=colour, edgecolor=INK, linewidth=1.2, zorder=2,
                                 hatch="" if place["ddp"] == 0 else "//"))  # fmt: skip
        plate = {"facecolor": colour, "edgecolor": "none", "pad": 1.2}
        axes.text(x, y, str(rank), ha="center", va="center", fontsize=10, color=INK, zorder=3, bbox=plate)
    axes.set(xlim=(-0.8, 10.6), ylim=(-2.0, 1.2), aspect="equal")
    axes.set_title(f"{SHAPE}: ranks that talk most are neighbours; the same fill = the same samples", fontsize=11, color=INK)


def shared(axes: Axes, axis: str) -> None:
    """One rank's part in one colour, the other's in another."""

    def box(x: float, y: float, width: float, height: float, colour: str) -> None:
        axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", linewidth=1.2))

    if axis == "ddp":
        for k in range(4):
            box(0.1 + 0.2 * k, 0.62 - 0.17 * k, 0.45, 0.3, (FIRST, SECOND)[k % 2])
    elif axis == "tiles":
        for k in range(8):
            box(0.1 + 0.27 * (k % 4), 0.15 + 0.38 * (k // 4), 0.25, 0.36, (FIRST, SECOND)[k % 2])
    elif axis == "fsdp":
        for k in range(3):
            box(0.1 + 0.4 * k, 0.52, 0.3, 0.38, FIRST)
            box(0.1 + 0.4 * k, 0.12, 0.3, 0.38, SECOND)
    elif axis == "sp":
        for k in range(18):
            box(0.08 + 0.19 * (k % 6), 0.62 - 0.24 * (k // 6), 0.16, 0.2, FIRST if k < 9 else SECOND)
    elif axis == "tp":
        for k in range(2):
            box(0.08 + 0.25 * k, 0.3, 0.23, 0.42, (FIRST, SECOND)[k])
            box(0.78, 0.52 - 0.46 * k + 0.03, 0.4, 0.42, (FIRST, SECOND)[k])
        axes.text(0.67, 0.5, "·", fontsize=18, ha="center", va="center", color=INK)
    else:
        for k in range(6):
            box(0.1 + 0.12 * k, 0.1 + 0.09 * k, 0.45, 0.36, FIRST if k < 3 else SECOND)
    what, travels = AXES[axis]
    axes.text(0.63, 1.2, axis, ha="center", fontsize=11, color=INK, fontweight="bold")
    axes.text(0.63, -0.08, what, ha="center", va="top", fontsize=8.5, color=INK)
    axes.text(0.63, -0.5, travels, ha="center", va="top", fontsize=8.5, color="0.4", style="italic")
    axes.set(xlim=(0, 1.3), ylim=(-0.85, 1.35), aspect="equal")


def main() -> None:
    figure = plt.figure(figsize=(11, 5.7), layout="constrained", facecolor="white")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.4, 1))
    axes = top.subplots()
    ranks(axes)
    axes.axis("off")
    for panel, axis in zip(bottom.subplots(1, len(AXES)), AXES, strict=True):
        shared(panel, axis)
        panel.axis("off")
    bottom.suptitle("what two ranks of an axis have (blue, orange), and what travels between them", fontsize=11, color=INK)
    figure.savefig(Path(__file__).with_name("mesh.png"), dpi=100)


if __name__ == "__main__":
    main()
