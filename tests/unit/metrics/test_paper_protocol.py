"""Table IV's conventions reproduced step by step (evaluation.md facts 1 to 3 and 5, T7), beside the scores that the project stands by."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from orbit2.grid import global_grid, named
from orbit2.metrics import paper
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.deterministic import rmse
from orbit2.metrics.statistics import moments
from orbit2.metrics.weighting import area_weights

US = named("us_15")
COSINE = np.cos(np.radians(US.lat))[:, None]


def rain(seed: int = 0, dry_share: float = 0.7) -> np.ndarray:
    """ln(1 + mm/day) over the US box, `dry_share` of the cells without rain."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=US.shape), 3)
    field = np.maximum(smooth - np.quantile(smooth, dry_share), 0)
    return np.where(field > 0, np.log(1.25) + field / field.max() * 3, 0.0)


def named_scores(*args, **kwargs):
    return dict(zip(paper.METRICS, paper.scores(*args, **kwargs), strict=True))


def test_rmse_lacks_the_mean_of_the_cosine():
    """Over this US box 11 % too low, as Table IV's RMSE is below its "sigma 1" column (0.135 / 0.154), and sqrt(2 / pi) on the globe."""
    truth = rain()
    found = named_scores(truth + 0.1, truth, COSINE)
    assert found["paper_rmse"] == pytest.approx(0.1 * np.sqrt((np.sin(np.radians(50)) - np.sin(np.radians(24))) / np.radians(26)), rel=1e-5)
    globe = global_grid(1.0)
    field, cosine = np.zeros(globe.shape), np.cos(np.radians(globe.lat))[:, None]
    assert named_scores(field + 0.1, field, cosine)["paper_rmse"] == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=1e-4)
    error = moments(truth + 0.1, truth, area_weights(US), domain_bins(US))
    assert rmse(error)[0] == pytest.approx(0.1, rel=1e-12)  # T6: what `standard` says of a constant error


def test_sigma_one_is_the_whole_rmse_where_most_cells_are_dry():  # T7
    truth = rain()
    prediction = np.maximum(truth + np.random.default_rng(1).normal(0, 0.2, US.shape), 0)
    zeroed = np.where(prediction < np.log(1.25), 0.0, prediction)
    found = named_scores(prediction, truth, COSINE, dry=np.log(1.25))
    assert found["paper_rmse_above_0.6827"] == pytest.approx(np.sqrt(np.mean((zeroed - truth) ** 2)), rel=1e-12)
    threshold = np.quantile(truth, 0.9973)
    tail = truth >= threshold
    assert found["paper_rmse_above_0.9973"] == pytest.approx(np.sqrt(np.mean((zeroed - truth)[tail] ** 2)), rel=1e-12)
    wet = named_scores(prediction, rain(dry_share=0.5), COSINE, dry=np.log(1.25))
    assert wet["paper_rmse_above_0.6827"] != pytest.approx(wet["paper_rmse"] / np.sqrt(COSINE.mean()), rel=1e-3)


def test_what_is_missing_counts_as_dry_in_each_field_by_itself():
    truth, prediction = rain(), rain(2)
    sea = np.zeros(US.shape, dtype=bool)
    sea[:, :60] = True
    found = named_scores(prediction, np.where(sea, np.nan, truth), COSINE, dry=np.log(1.25))
    by_hand = named_scores(prediction, np.where(sea, 0.0, truth), COSINE, dry=np.log(1.25))
    assert found == by_hand
    pasted = named_scores(np.where(sea, 0.0, prediction), np.where(sea, 0.0, truth), COSINE, dry=np.log(1.25))
    assert pasted["paper_rmse"] < found["paper_rmse"]  # fact 4 is not what is computed


def test_r_is_pearsons_not_its_square_nor_the_coefficient_of_determination():  # fact 1, oracle 2
    t = np.random.default_rng(0).normal(size=(50, 50))
    found = named_scores(0.5 * t + 3, t, np.ones((50, 1)))
    assert found["paper_pearson_r"] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("quantise", [True, False])
def test_images_are_normalised_by_the_days_own_range(quantise):
    truth, prediction = rain(), rain(3)
    found = named_scores(prediction, truth, COSINE, quantise=quantise)
    low, high = min(truth.min(), prediction.min()), max(truth.max(), prediction.max())
    images = [(x - low) / (high - low) for x in (truth, prediction)]
    if quantise:
        images = [(x * 255).astype(np.uint8) for x in images]
    assert found["paper_ssim"] == structural_similarity(*images, data_range=255 if quantise else 1)
    assert found["paper_psnr"] == peak_signal_noise_ratio(*images, data_range=255 if quantise else 1)


def test_millimetres_look_better_than_their_logarithm():  # fact 5
    truth = rain(dry_share=0.4)
    prediction = np.maximum(truth + ndimage.gaussian_filter(np.random.default_rng(4).normal(size=US.shape), 1), 0)
    logs = named_scores(prediction, truth, COSINE, dry=np.log(1.25), quantise=False)
    rates = named_scores(np.expm1(prediction), np.expm1(truth), COSINE, dry=0.25, quantise=False)
    assert rates["paper_ssim"] > logs["paper_ssim"] and rates["paper_psnr"] > logs["paper_psnr"]


def test_fields_with_gaps_are_scored_in_a_row():  # fact 5: as the reference scores its 58 regions
    truth = 280 + rain()
    truth[10:20, 30:50] = np.nan
    prediction = truth + np.random.default_rng(0).normal(size=US.shape)
    known = np.isfinite(truth)
    found = named_scores(prediction, truth, COSINE, quantise=False)
    p, o = prediction[known], truth[known]
    low, high = min(p.min(), o.min()), max(p.max(), o.max())
    assert found["paper_ssim"] == structural_similarity((o - low) / (high - low), (p - low) / (high - low), data_range=1.0)
    assert found["paper_rmse"] == pytest.approx(np.sqrt(np.mean((p - o) ** 2 * np.broadcast_to(COSINE, US.shape)[known])))


def test_a_perfect_prediction_and_a_day_without_anything():  # T1
    perfect = named_scores(rain(), rain(), COSINE)
    assert perfect["paper_pearson_r"] == pytest.approx(1, abs=1e-12) and perfect["paper_ssim"] == 1 and perfect["paper_rmse"] == 0
    assert np.isposinf(perfect["paper_psnr"])
    nothing = named_scores(np.zeros(US.shape), np.zeros(US.shape), COSINE, dry=0.25)
    assert nothing["paper_rmse"] == 0 and np.isnan(nothing["paper_ssim"]) and np.isnan(nothing["paper_pearson_r"])
    assert np.isnan(paper.scores(np.full(US.shape, np.nan), rain(), COSINE)).all()
