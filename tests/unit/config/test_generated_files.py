"""The generated schema and key tables say what the configuration model says, and every shipped YAML is a valid one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from orbit2.config.generate import generate, keys, pages, table
from orbit2.config.load import load, read_yaml, validate
from orbit2.config.network import ArchitectureConfig
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from tests.data.shipped import RUNS as SHIPPED

ROOT = Path(__file__).resolve().parents[3]
RUNS = sorted([*(ROOT / "config").glob("*.yaml"), *SHIPPED])
MODELS = sorted((ROOT / "config/models").glob("*.yaml"))


@pytest.mark.parametrize("name", list(pages()))
def test_generated_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == pages()[name], "run `orbit2 config generate`"


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_every_run_file_is_valid(path: Path) -> None:
    assert load(path).models


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.name)
def test_every_model_file_is_an_architecture(path: Path) -> None:
    validate(ArchitectureConfig, read_yaml(path), path)


def test_published_sizes() -> None:
    sizes = {}
    for path in MODELS:
        model = read_yaml(path)
        if model["kind"] in ("unet", "conv"):
            continue
        sizes[path.stem] = (model["embed_dim"], model["depth"], model["heads"])
    assert sizes["reslim_9m"] == (256, 6, 4)
    assert sizes["reslim_126m"] == (1024, 8, 16)
    assert sizes["reslim_1b"] == (3072, 8, 24)
    assert sizes["reslim_10b"] == (8192, 11, 32)


def test_every_key_is_described() -> None:
    assert [key.path for key in keys() if not key.description] == []


def test_table_names_key_type_default_and_meaning() -> None:
    row = next(line for line in table().splitlines() if line.startswith("| `models.<name>.train.learning_rate`"))
    assert row == "| `models.<name>.train.learning_rate` | number, > 0 | `0.0005` | science | Peak learning rate of AdamW. |"
    required = next(line for line in table().splitlines() if line.startswith("| `datasets.<name>.coarse_grid`"))
    assert "**required**" in required


def test_schema_accepts_what_the_model_accepts_and_nothing_else() -> None:
    import jsonschema

    schema = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text(encoding="utf-8"))
    demo = load(ROOT / "config/config.yaml").model_dump(mode="json")
    jsonschema.validate(demo, schema)
    demo["evaluate"]["bootstrapp"] = 3
    with pytest.raises(jsonschema.ValidationError, match="bootstrapp"):
        jsonschema.validate(demo, schema)


def test_check_notices_a_hand_edit(tmp_path: Path) -> None:
    for name in ("config", "workflow"):
        (tmp_path / name).mkdir()
    assert len(generate(tmp_path)) == 3
    assert generate(tmp_path) == []
    page = tmp_path / "config/README.md"
    page.write_text(page.read_text(encoding="utf-8") + "hand-made\n", encoding="utf-8")
    with pytest.raises(OrbitError, match="orbit2 config generate"):
        generate(tmp_path, check=True)


def test_show_round_trips() -> None:
    run = load(ROOT / "config/config.yaml")
    assert RunConfig.model_validate(yaml.safe_load(yaml.safe_dump(run.model_dump(mode="json")))) == run
