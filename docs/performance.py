"""Writes the tables of docs/performance.md and draws docs/roofline.png from benchmarks/results/h200.json (`make docs`; a minute).

    python docs/performance.py

FLOPs and bytes of a step are those of its operators, rehearsed as `orbit2 plan` does it, when it was measured and today: every operator
reads and writes memory once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from orbit2.files import write_text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from measured import moved, record, then, today  # noqa: E402

PAGE, PICTURE = Path(__file__).with_name("performance.md"), Path(__file__).with_name("roofline.png")
BEGIN, END = "<!-- docs/performance.py: begin -->", "<!-- docs/performance.py: end -->"
BATCH = 8
MEMORY = 4.3e12  # bytes/s of a copy on the device, read and written ones counted, as others measured on the same kind of machine
MARKS = {"prediction": ("o", "#1b6ca8"), "training": ("s", "#e08e45")}
Row = dict[str, Any]


def rows(record: dict[str, Any]) -> list[Row]:
    """Each network and side at batch 8: what was measured eager and at best, FLOPs and bytes of a sample, its floor."""
    found, peak = [], 1e12 * float(np.mean(record["product_tflops"]))
    for network in dict.fromkeys(row["network"] for row in record["rows"]):
        for side in MARKS:
            own = [row for row in record["rows"] if (row["network"], row["side"]) == (network, side)]
            eager = next((row["ms_per_sample"] for row in own if row["way"] == "eager" and row["batch"] == BATCH), None)
            if eager is None:
                continue
            best = min(own, key=lambda row: float(row["ms_per_sample"]))
            measured = then(network, side, BATCH)
            flops, now = measured.flops / BATCH, moved(today(network, side, BATCH).operators) / BATCH
            found.append({"network": network, "side": side, "eager": eager, "best": best, "flops": flops, "now": now,
                          "bytes": moved(measured.operators) / BATCH, "floor": 1e3 * flops / peak})  # fmt: skip
    return found


def table(found: list[Row]) -> str:
    lines = ["| network | side | eager, ms a sample | fastest seen | samples/s | floor, ms | times it | GFLOP | GB moved | today |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in found:
        best = row["best"]
        how = f"{best['ms_per_sample']:.2f} ({best['way']}, batch {best['batch']})"
        cells = [row["network"], row["side"], f"{row['eager']:.2f}", how, f"{1e3 / best['ms_per_sample']:.0f}", f"{row['floor']:.2f}",
                 f"{best['ms_per_sample'] / row['floor']:.1f}", f"{row['flops'] / 1e9:.0f}", f"{row['bytes'] / 1e9:.2f}",
                 f"{row['now'] / 1e9:.2f}"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: list[Row], record: dict[str, Any]) -> None:
    """Attained FLOP/s against FLOPs for each byte of memory that the operators move, under what product and memory allow."""
    peak = 1e12 * float(np.mean(record["product_tflops"]))
    figure, ax = plt.subplots(figsize=(8.2, 4.8), dpi=140, layout="constrained")
    x = np.geomspace(3, 1500, 200)
    ax.loglog(x, np.minimum(peak, MEMORY * x) / 1e12, color="#22303c", linewidth=1.8)
    ax.text(900, peak / 1e12 * 1.08, "a plain bf16 product", ha="right", va="bottom", fontsize=9)
    ax.text(9, MEMORY * 9 / 1e12 * 1.15, "memory: a copy", rotation=37, fontsize=9, ha="left", va="bottom")
    for side, (mark, colour) in MARKS.items():
        mine = [row for row in found if row["side"] == side]
        ax.plot([row["flops"] / row["bytes"] for row in mine], [row["flops"] / row["eager"] / 1e9 for row in mine], mark, color=colour,
                markersize=7, label=f"{side}, eager, batch {BATCH}")  # fmt: skip
        for row in mine:
            beside: Row = {"ha": "left", "xytext": (8, -3)} if side == "training" else {"ha": "right", "xytext": (-8, -3)}
            ax.annotate(row["network"], (row["flops"] / row["bytes"], row["flops"] / row["eager"] / 1e9), fontsize=7.5, color=colour,
                        textcoords="offset points", **beside)  # fmt: skip
    ax.set(xlabel="FLOP for each byte that the operators read or write", ylabel="TFLOP/s", xlim=(3, 1500), ylim=(10, 1500))
    ax.grid(visible=True, which="both", color="0.92", linewidth=0.6)
    ax.legend(loc="lower right", frameon=False, fontsize=9)
    ax.set_title(f"9.5M on one {record['device']}: what limits it ({record['code_version']})", fontsize=11)
    figure.savefig(PICTURE)
    plt.close(figure)


def page(text: str, found: list[Row]) -> str:
    """The page with the table between its marks. Raises ValueError for a page without them."""
    before, rest = text.split(f"{BEGIN}\n")
    return f"{before}{BEGIN}\n{table(found)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    measured = record()
    found = rows(measured)
    draw(found, measured)
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), found))


if __name__ == "__main__":
    main()
