"""The paper's section V.B: its numbers follow from its formula, and ours from the grids that a model really sees."""

from fractions import Fraction

import pytest
import torch

from orbit2.grid import global_grid
from orbit2.model.inspect import tokens
from orbit2.plan import sequence
from tests.data.small_models import demo_model


def test_published_sequence_lengths() -> None:
    """Table III: 1.1 billion tokens (cut off after one digit, as all of that table) and 4.2 billion, every output variable counted."""
    assert sequence.BILLION.paper_tokens == 11520 * 23040 * 18 // 4 == 1_194_393_600
    assert sequence.LARGEST.paper_tokens == 4_199_040_000


def test_tokens_per_gpu_of_the_paper_and_ours() -> None:
    """tokens / (variables x low-resolution factor x compression x tiles): 17,280 with the paper's 60, 64,800 with s^2 = 16."""
    reductions = sequence.COMPRESSION * sequence.TILES
    assert sequence.paper_attended(sequence.BILLION) / reductions == Fraction(1_194_393_600, 18 * 60 * 4 * 16) == 17_280
    assert sequence.attended(sequence.BILLION, 4, 2) / reductions == Fraction(1_194_393_600, 18 * 16 * 4 * 16) == 64_800


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_attended_tokens_are_those_of_a_model(patch: int) -> None:
    coarse = global_grid(7.5)  # 24 x 48
    output = sequence.Output(*coarse.refine(4).shape, 2)
    with torch.device("meta"):
        model = demo_model(patch=patch)
    assert sequence.attended(output, 4, patch) == tokens(model, coarse)


def test_the_text_names_both_and_the_difference() -> None:
    text = "\n".join(sequence.lines(4, 2, {"demo": (sequence.Output(180, 360, 5), 1035)}))
    for expected in ("17,280", "64,800", "4,199,040,000", "14,580,000", "81,000", "1,035", "divides by s^2 = 16", "3.75 times"):
        assert expected in text
    assert "by 60 " in text and "rows x columns x variables of the output / patch^2" in text


def test_a_model_that_upsamples_first_attends_to_the_fine_grid() -> None:
    assert sequence.attended(sequence.LARGEST, 1, 2) == 10800 * 21600
    assert "60 times the paper's tokens" in "\n".join(sequence.lines(1, 2, {}))
    assert sequence.count(Fraction(2025, 2)) == "1,012.5"
