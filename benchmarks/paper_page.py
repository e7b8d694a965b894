"""How benchmarks/paper.py writes its tables into docs/paper.md. Not a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HEADS = {  # columns in their order
    "case": "", "tokens": "tokens", "mesh": "mesh", "gb": "GB a GPU", "seconds": "s a step", "exposed": "exchanges, s", "data": "waits, s",
    "measured_ms": "measured, ms", "predicted_ms": "predicted, ms", "exposed_ms": "exchanges, ms", "flops": "by FLOPs", "paper": "paper",
    "here": "here", "off": "off", "exaflops": "exaFLOP/s", "paper_exaflops": "the paper's", "exaflops_off": "off",
}  # fmt: skip
BEGIN, END = "<!-- begin of what benchmarks/paper.py writes -->", "<!-- end -->"


def table(title: str, about: str, rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown under a title and what they are about; below, why some are otherwise than the paper's."""
    keys = [key for key in HEADS if any(row.get(key) not in (None, 0.0) or row.get(key) is False for row in rows)]
    lines = [f"### {title}", "", about, ""]
    lines += ["| " + " | ".join(HEADS[key] for key in keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(shown(key, row.get(key)) for key in keys) + " |" for row in rows] + [""]
    whys: dict[str, list[str]] = {}
    for row in rows:
        if row.get("why"):
            whys.setdefault(row["why"], []).append(row["case"])
    lines += [f"- {'; '.join(cases) if len(cases) < 4 else f'{len(cases)} rows'}: {why}." for why, cases in whys.items()]
    return "\n".join(lines + ([""] if whys else []))


def shown(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "fits" if value else "does not"
    if key.endswith("off"):
        return f"{value:+.0%}"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
