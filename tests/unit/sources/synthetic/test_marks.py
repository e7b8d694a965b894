"""What is made of the test world says so: predictions, cards, pages. What is not, does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orbit2.config.load import load
from orbit2.config.sources import SYNTHETIC, synthetic
from orbit2.data.transforms import Normaliser
from orbit2.downscale.predictor import Downscaler
from orbit2.model.build import build
from orbit2.report.pages.assembly import rendered
from orbit2.train.card import trained_on

RUNS = Path(__file__).resolve().parents[4] / "config/runs"


@pytest.mark.parametrize(("run", "made"), [("demo_climate", True), ("demo", False)])
def test_predictions_say_what_their_model_learned_from(run: str, made: bool) -> None:
    config = load(RUNS / f"{run}.yaml")
    (name, data), *_ = config.datasets.items()
    model = build(config.architecture_of("reslim"), data.inputs, data.outputs, data.statics)
    about = {"name": "reslim", "datasets": {name: data.model_dump(mode="json")}}
    moments = dict.fromkeys({*model.inputs, *model.outputs}, (0.0, 1.0))
    said = Downscaler(model.eval(), Normaliser(moments, 0.0), about, torch.device("cpu")).described({"title": "mine"})
    assert said.get("synthetic") == (SYNTHETIC if made else None) and said["title"] == "mine"
    assert synthetic(trained_on(about["datasets"])) is made


def test_a_page_with_a_banner_shows_it_on_screen_and_on_every_printed_page() -> None:
    page = rendered("t", "k", ["lead"], [], "files", SYNTHETIC).html
    assert f'<p class="banner" role="note">{SYNTHETIC}</p>' in page
    assert f'@page{{@top-center{{content:"{SYNTHETIC}"' in page.split("</style>")[0]
    plain = rendered("t", "k", ["lead"], [], "files").html
    assert 'class="banner"' not in plain and "@top-center" not in plain


def test_names_that_are_no_sources_are_not_synthetic() -> None:
    assert not synthetic(["", "era5", "unknown"]) and synthetic(["era5", "synthetic"])
