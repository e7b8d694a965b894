"""Lengths of sequences as the paper counts them (section V.B) beside the tokens that attention gets here. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

PAPER_PATCH = 2
PAPER_LOW_RESOLUTION = 60  # what the paper divides by because the transformer sees "low-resolution input"


@dataclass(frozen=True)
class Output:
    """Fine rows, columns and variables of a prediction."""

    rows: int
    columns: int
    variables: int

    @property
    def paper_tokens(self) -> int:
        """The paper's sequence length: rows x columns x variables / patch^2, every variable of the OUTPUT counted."""
        return self.rows * self.columns * self.variables // PAPER_PATCH**2

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.columns}x{self.variables}"


# Table III, 9.5M model: 1.1 billion tokens on 8 GPUs with 4x compression and 16 tiles. The paper gives 17,280 and the factor 60;
# the shape is the one of these, at 18 variables, whose quotient is exactly that.
BILLION, COMPRESSION, TILES = Output(11520, 23040, 18), 4, 16
LARGEST = Output(21600, 43200, 18)  # 0.9 km, 4.2 billion tokens


def paper_attended(output: Output) -> Fraction:
    """Tokens after the paper's reductions: variables aggregated to one, then divided by its low-resolution factor."""
    return Fraction(output.paper_tokens, output.variables * PAPER_LOW_RESOLUTION)


def attended(output: Output, refinement: int, patch: int) -> Fraction:
    """Tokens of a transformer on the coarse grid: rows / (s p) times columns / (s p), variables aggregated."""
    return Fraction(output.rows * output.columns, (refinement * patch) ** 2)


def lines(refinement: int, patch: int, own: Mapping[str, tuple[Output, int]]) -> list[str]:
    """The paper's outputs, then this run's `own` with the tokens they get, for models with `refinement` s and `patch` p."""
    rows = [("output", "tokens, paper's count", "attended, paper", f"attended, s = {refinement}, p = {patch}")]
    for output in (BILLION, LARGEST):
        theirs, ours = paper_attended(output), attended(output, refinement, patch)
        rows.append((output.name, f"{output.paper_tokens:,}", count(theirs), count(ours)))
        if output is BILLION:
            share = COMPRESSION * TILES
            rows.append((f"  per GPU (/ {COMPRESSION} compression / {TILES} tiles)", "", count(theirs / share), count(ours / share)))
    rows += [(f"{key}: {output.name}", f"{output.paper_tokens:,}", "", f"{tokens:,}") for key, (output, tokens) in own.items()]
    more = float(Fraction(PAPER_LOW_RESOLUTION * PAPER_PATCH**2, (refinement * patch) ** 2))
    return [
        "sequence length (paper, section V.B; it counts tokens as rows x columns x variables of the output / patch^2)",
        *(f"  {a:<40}{b:>22}{c:>18}{d:>26}" for a, b, c, d in rows),
        "  Variables (aggregated to one), compression and tiles divide alike on both sides. For low-resolution input the paper divides",
        f"  by {PAPER_LOW_RESOLUTION} and by p^2 = {PAPER_PATCH**2}; refining s = {refinement} times along each side divides by s^2 = "
        f"{refinement**2} and p^2 = {patch**2}: {more:g} times the paper's tokens.",
    ]


def count(tokens: Fraction) -> str:
    """Whole tokens where they are whole."""
    return f"{float(tokens):,.0f}" if tokens.denominator == 1 else f"{float(tokens):,.1f}"
