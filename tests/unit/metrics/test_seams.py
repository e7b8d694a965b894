"""The seam ratio: 1 for whatever is stitched exactly, the analytic value for a step, whatever the mountains, phases and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.grid import Grid, uniform
from orbit2.metrics.seams import SeamStatistic, borders
from orbit2.model.tiles import tiles

FACTOR = 4


def statistics(values: np.ndarray, grid: Grid, tile: int | tuple[int, int], halo: int = 2, blend: int = 0) -> dict[str, SeamStatistic]:
    """One statistic per direction after one field on `grid` refined."""
    tiling = tiles(grid.shape, grid.periodic, tile, halo, blend=blend)
    found = {border.name: SeamStatistic(border) for border in borders(tiling, grid.refine(FACTOR), FACTOR)}
    for statistic in found.values():
        statistic.update(values)
    return found


def value(values: np.ndarray, grid: Grid, tile: int | tuple[int, int], direction: str) -> float:
    return statistics(values, grid, tile)[direction].ratio().value


REGION, GLOBE = uniform(-40, 40, 0, 120, 20, 30), uniform(-90, 90, 0, 360, 18, 36)


def indices(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Row and column number of every fine cell."""
    height, width = grid.refine(FACTOR).shape
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return rows.astype(float), columns.astype(float)


def test_linear_fields_have_no_seam() -> None:
    rows, columns = indices(REGION)
    found = statistics(3 * columns - 2 * rows, REGION, 6)  # 20 and 30 cells: the last row of tiles is smaller
    assert set(found) == {"meridians", "parallels"}
    for direction, slope in (("meridians", 3), ("parallels", 2)):
        ratio = found[direction].ratio()
        assert ratio.value == pytest.approx(1, abs=1e-12) and ratio.across == pytest.approx(slope, rel=1e-12)
        assert ratio.interval == pytest.approx((1, 1), abs=1e-12)
    assert found["meridians"].ratio().n == 4 * 80 and found["parallels"].ratio().n == 3 * 120


def test_waves_of_every_phase_have_no_seam() -> None:
    rows, columns = indices(GLOBE)
    height, width = rows.shape
    wave = np.sin(2 * np.pi * (5 * columns / width + 9 * rows / height))
    found = statistics(wave, GLOBE, 6)
    assert set(found) == {"meridians", "parallels", "wrap"}
    for direction in found:
        assert found[direction].ratio().value == pytest.approx(1, abs=0.01), direction


@pytest.mark.parametrize(("slope", "step"), [(2.0, 3.0), (2.0, -1.0), (1.0, -4.0), (1.0, 0.05)])
def test_a_step_at_every_border_has_the_analytic_ratio(slope: float, step: float) -> None:
    rows, columns = indices(REGION)
    edge = 5 * FACTOR
    east = slope * columns + step * (columns // edge)
    assert value(east, REGION, 5, "meridians") == pytest.approx(abs(slope + step) / slope, rel=1e-12)
    north = slope * rows + step * (rows // edge)
    assert value(north, REGION, 5, "parallels") == pytest.approx(abs(slope + step) / slope, rel=1e-12)
    with pytest.raises(KeyError):
        value(north, REGION, (0, 5), "parallels")  # one tile from south to north: no border


def test_a_jump_where_the_globe_closes_is_seen_there_only() -> None:
    columns = indices(GLOBE)[1]
    found = statistics(columns, GLOBE, 6)
    assert found["wrap"].ratio().value == pytest.approx(36 * FACTOR - 1, rel=1e-12)
    assert found["meridians"].ratio().value == pytest.approx(1, rel=1e-12)
    assert "wrap" not in statistics(columns, GLOBE, (6, 0))  # a window round the globe has no border there


def test_a_mountain_on_the_border_is_no_seam() -> None:
    """A slope that is steepest at the border: the plain mean elsewhere is much less, the one beside it nearly the same."""
    columns = indices(REGION)[1]
    edges = np.abs(columns - 60)  # the border of tiles of 15
    steps = 1 + 8 * np.exp(-((edges / 20) ** 2))
    field = np.cumsum(steps, axis=1)
    naive = steps[:, 60].mean() / steps[:, FACTOR::FACTOR].mean()
    assert naive > 2
    assert value(field, REGION, 15, "meridians") == pytest.approx(1, abs=0.12)
    ramp = np.cumsum(1 + 0.1 * columns, axis=1)  # linear change of slope cancels exactly
    assert value(ramp, REGION, 15, "meridians") == pytest.approx(1, rel=1e-12)


def test_the_phase_of_coarse_cells_is_no_seam() -> None:
    """Nearest-neighbour upsampling differs at coarse boundaries only: all tile borders are such, and so is what they are compared with."""
    coarse = np.random.default_rng(0).normal(size=GLOBE.shape)
    found = statistics(np.kron(coarse, np.ones((FACTOR, FACTOR))), GLOBE, 6)
    for direction in ("meridians", "parallels"):
        ratio = found[direction].ratio()
        assert ratio.value == pytest.approx(1, abs=0.25)
        assert ratio.interval is not None and ratio.interval[0] < 1 < ratio.interval[1]


def test_dry_places_do_not_count() -> None:
    rows, columns = indices(REGION)
    rain = np.where(rows < 40, columns + 3 * (columns // 20), 0.0)
    assert value(rain, REGION, 5, "meridians") == pytest.approx(4, rel=1e-12)
    dry = statistics(np.zeros_like(rain), REGION, 5)["meridians"].ratio()
    assert np.isnan(dry.value) and dry.interval is None and dry.across == 0 and dry.n > 0


def test_missing_cells_are_left_out_with_their_likes() -> None:
    columns = indices(REGION)[1]
    field = 2 * columns + 1 * (columns // 20)
    whole = statistics(field, REGION, 5)["meridians"].ratio()
    field[10:30, 17] = np.nan  # beside the first border: its differences at 16 + 1 are no coarse boundary, those at 17 neither
    assert statistics(field, REGION, 5)["meridians"].ratio().n == whole.n
    field[10:30, 20] = np.nan
    holed = statistics(field, REGION, 5)["meridians"].ratio()
    assert holed.value == pytest.approx(1.5, rel=1e-12) and holed.n == whole.n - 20
    nothing = statistics(np.full_like(field, np.nan), REGION, 5)["meridians"].ratio()
    assert np.isnan(nothing.value) and nothing.n == 0 and np.isnan(nothing.across)


def slow(values: np.ndarray, grid: Grid, core: tuple[int, int], direction: str) -> float:
    """The definition, cell by cell."""
    fine = grid.refine(FACTOR)
    height, width = fine.shape
    areas = fine.area_km2
    borders_ = {
        "meridians": range(core[1] * FACTOR, width, core[1] * FACTOR),
        "parallels": range(core[0] * FACTOR, height, core[0] * FACTOR),
        "wrap": range(1),
    }
    lines = borders_[direction]
    others = set(borders_["parallels"]) if direction == "parallels" else {*borders_["meridians"], 0}
    above = below = 0.0
    for line in lines:
        pairs = []
        for k in (1, 2):
            a, b = line - k * FACTOR, line + k * FACTOR
            if direction != "parallels":
                a, b = a % width, b % width
            elif a <= 0 or b >= height:
                continue
            if a not in others and b not in others:
                pairs += [a, b]
        for i in range(width if direction == "parallels" else height):
            def step(at: int, i: int = i) -> float:
                return abs(values[at, i] - values[at - 1, i]) if direction == "parallels" else abs(values[i, at] - values[i, at - 1])
            around = [step(at) for at in pairs]
            if pairs and np.isfinite([step(line), *around]).all():
                weight = (areas[line, i] + areas[line - 1, i]) if direction == "parallels" else (areas[i, line] + areas[i, line - 1])
                above, below = above + weight * step(line), below + weight * np.mean(around)
    return above / below


@pytest.mark.parametrize("core", [(5, 7), (4, 4), (3, 2), (9, 18)])
def test_the_ratio_equals_the_definition_cell_by_cell(core: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=GLOBE.refine(FACTOR).shape)
    values[generator.random(values.shape) < 0.02] = np.nan
    for direction, statistic in statistics(values, GLOBE, core).items():
        assert statistic.ratio().value == pytest.approx(slow(values, GLOBE, core, direction), rel=1e-12), direction


def test_borders_without_anything_beside_them_are_left_out() -> None:
    assert statistics(indices(REGION)[1], REGION, 1) == {}
    assert set(statistics(indices(REGION)[1], REGION, (1, 5))) == {"meridians"}
    assert statistics(indices(REGION)[1], REGION, 0) == {}


def test_frames_add_up_in_any_order() -> None:
    generator = np.random.default_rng(2)
    frames = [generator.normal(size=GLOBE.refine(FACTOR).shape) for _ in range(3)]
    (border, *_) = borders(tiles(GLOBE.shape, True, 6, 2), GLOBE.refine(FACTOR), FACTOR)
    together, first, second = SeamStatistic(border), SeamStatistic(border), SeamStatistic(border)
    for frame in frames:
        together.update(frame)
    first.update(frames[2])
    second.update(frames[1])
    second.update(frames[0])
    first.merge(second)
    assert first.ratio().value == pytest.approx(together.ratio().value, rel=1e-12)
    assert first.ratio().interval == pytest.approx(together.ratio().interval, rel=1e-12)
    np.testing.assert_allclose(first.profile(), together.profile())


def test_the_interval_tells_a_seam_from_chance() -> None:
    generator = np.random.default_rng(3)
    noise = generator.normal(size=GLOBE.refine(FACTOR).shape)
    columns = indices(GLOBE)[1]
    none = statistics(noise, GLOBE, 6)["meridians"].ratio()
    seam = statistics(noise + 1.5 * ((columns // 24) % 2), GLOBE, 6)["meridians"].ratio()
    assert none.interval is not None and none.interval[0] < 1 < none.interval[1] and 0.02 < none.interval[1] - none.interval[0] < 0.3
    assert seam.interval is not None and seam.interval[0] > 1.1
    # E|d + h| of d ~ N(0, 2): sqrt(2) sqrt(2 / pi) exp(-h^2 / 4) + h erf(h / 2)
    h = 1.5
    expected = (2 / np.sqrt(np.pi) * np.exp(-h * h / 4) + h * 0.7111556) / (2 / np.sqrt(np.pi))
    assert seam.value == pytest.approx(expected, abs=0.06)


def test_the_profile_shows_where_the_step_is() -> None:
    columns = indices(REGION)[1]
    statistic = statistics(2 * columns + 5 * (columns // 20), REGION, 5)["meridians"]
    found = dict(zip(statistic.offsets.tolist(), statistic.profile(), strict=True))
    assert found[0] == pytest.approx(7) and found[1] == found[-1] == found[4] == pytest.approx(2)
    assert found[20] == pytest.approx(7) and found[-20] == pytest.approx(7)  # the next border


@pytest.mark.parametrize("blend", [1, 2])
def test_a_step_that_was_mixed_is_compared_with_what_was_not(blend: int) -> None:
    """A disagreement h over 2 x blend coarse cells leaves h / (2 blend s) at the border: 1 + that over the slope, not 1."""
    _, columns = indices(REGION)
    slope, h, edge = 2.0, 6.0, 6 * FACTOR
    beyond = (columns[0] + edge / 2) % edge - edge / 2 + 0.5  # fine cells beyond the nearest border
    weight = np.clip(0.5 + beyond / (2 * blend * FACTOR), 0, 1) + (columns[0] + edge // 2) // edge - 1  # a step more at every border
    values = slope * columns + h * weight[None]
    found = statistics(values, REGION, (0, 6), halo=2, blend=blend)["meridians"]
    assert found.ratio().value == pytest.approx(1 + h / (2 * blend * FACTOR) / slope, rel=1e-9)
    assert found.ratio().beside == pytest.approx(slope, rel=1e-9)
