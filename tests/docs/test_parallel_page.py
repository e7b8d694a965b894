"""docs/parallel.md: its YAML loads, its meshes fit, its messages are the code's, and its table is what was measured."""

from __future__ import annotations

import ast
import json
import re
from functools import cache

import pytest
import yaml

from orbit2.config.load import from_mapping, merge
from orbit2.config.network import MeshConfig
from orbit2.model.inspect import vocabulary
from orbit2.parallel.mesh import AXES, sizes
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs/parallel.md"
TEXT = PAGE.read_text(encoding="utf-8")
SOURCES = sorted([*(ROOT / "orbit2/parallel").glob("*.py"), *(ROOT / "orbit2/train").glob("*.py"), ROOT / "orbit2/data/steps.py"])
# what a run that was configured meets in what ranks do together; the others' errors are about losses, models, damaged files
COMPLETE = {"mesh", "reduce", "launch", "watch", "steps", "checkpoint"}


@pytest.mark.parametrize("block", [text for language, text in blocks(PAGE) if language == "yaml"])
def test_every_yaml_of_the_page_loads_and_its_mesh_fits(block: str) -> None:
    (world,) = re.findall(r"^# (\d+) ranks?$", block.splitlines()[0])
    run = yaml.safe_load((ROOT / "config/runs/foundation.yaml").read_text(encoding="utf-8"))
    config = from_mapping(merge(run, yaml.safe_load(block)), base=ROOT / "config/runs")
    train, (inputs, _, _) = config.models["foundation"].train, vocabulary(config, "foundation")
    shape = sizes(train.mesh, int(world), config.architecture_of("foundation"), train.batch_size, len(inputs), train.tiled)
    assert shape.world == int(world)
    assert train.batch_size // shape.readers >= train.accumulate
    for said in re.findall(r"# ddp: (\d+) by itself", block):
        assert shape.ddp == int(said)


def test_every_key_of_the_mesh_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)(?:: true)?`", TEXT, flags=re.MULTILINE)
    assert tuple(rows[: len(AXES) + 1]) == (*AXES, "channels") == tuple(MeshConfig.model_fields)


@cache
def literals() -> list[str]:
    """Texts in the sources, as they are written: with … for what is filled in."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(_parts(node)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%s|%d", "…", node.value))
    return found


def _parts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    return [str(part.value) if isinstance(part, ast.Constant) else "…" for part in getattr(node, "values", [])]


def messages() -> list[str]:
    section = TEXT.split("## What it says when something is wrong")[1].split("\n## ")[0]
    return re.findall(r"^\| `(.+?)` \|", section, flags=re.MULTILINE)


@pytest.mark.parametrize("message", messages())
def test_every_message_on_the_page_is_in_the_source(message: str) -> None:
    pattern = re.compile(".*?".join(re.escape(part) for part in message.split("…")))
    assert any(pattern.search(text) for text in literals()), message


def test_every_error_of_what_ranks_do_together_is_on_the_page() -> None:
    listed = [re.compile(".+".join(re.escape(part) for part in message.split("…"))) for message in messages()]
    raised = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if path.stem in COMPLETE and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "OrbitError":
                what = node.args[0]
                branches = [what.body, what.orelse] if isinstance(what, ast.IfExp) else [what]
                raised |= {"".join(text) for branch in branches for text in [_parts(branch)] if text}
    assert len(raised) > 12
    # two that a run never meets: `sizes` says the same before, with a mesh that fits
    raised -= {"fewer samples per step than ranks", "ranks that share out tiles, and no tiles"}
    assert not [text for text in raised if not any(pattern.search(text) for pattern in listed)]


def test_the_table_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks/results/parallel.json").read_text(encoding="utf-8"))
    rows = {row["case"]: row for row in found["rows"]}
    section = TEXT.split("## What it costs")[1].split("\n## ")[0]
    table = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")][1:]
    assert [name for name, *_ in table] == list(rows)
    for name, *cells in table:
        row = rows[name]
        seconds = (row[key]["median"] for key in ("seconds", "efficiency", "efficiency_core_time"))
        megabytes = (row[key] / 1e6 for key in ("sent_bytes_per_rank", "state_bytes", "step_bytes"))
        for cell, value in zip(cells, (*seconds, row["predicted_efficiency"], row["gflop_per_rank"], *megabytes), strict=True):
            if cell == "-":
                assert not value, name
            else:
                assert float(cell) == pytest.approx(value, abs=0.51 * 10.0 ** -len(cell.partition(".")[2])), name
