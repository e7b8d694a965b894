"""Does the prediction agree with its own input, and with itself where tiles meet?"""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry

TITLE = "Consistency with the input, and seams"
HARDER = "Harder et al. 2023, J. Mach. Learn. Res. 24:365"
RHO = "ρ = area-weighted block mean of p minus its input x"
NOT_TRUTH = "The input is no truth: a prediction that corrects a biased input does not conserve it, and should not."
SEAM = "With few borders the place leaves its mark: read the interval and the row of the control beside it."
ENTRIES = (
    Entry("conservation_relative", f"mean |ρ| / mean |x|; {RHO}", HARDER, "1", "zero",
          f"{NOT_TRUTH} Of temperature in K it is small whatever happens.", spaces=ONLY_PHYSICAL),
    Entry("conservation_rmse", f"sqrt(mean ρ²); {RHO}", HARDER, "field", "zero", NOT_TRUTH, stages=("evaluate", "diagnose")),
    Entry("conservation_mae", f"mean |ρ|; {RHO}", HARDER, "field", "zero", NOT_TRUTH, stages=("diagnose",)),
    Entry("conservation_bias", f"mean ρ; {RHO}", HARDER, "field", "zero", NOT_TRUTH, stages=("evaluate", "diagnose")),
    Entry("conservation_p99", f"99 % quantile of |ρ| by area, mean over samples; {RHO}", HARDER, "field", "zero", NOT_TRUTH,
          spaces=ONLY_PHYSICAL),
    Entry("conservation_exceedance", f"area share of cells with |ρ| > max(1 % of x, 0.1 mm/day); {RHO}; precipitation alone", HARDER, "1",
          "zero", NOT_TRUTH, spaces=ONLY_PHYSICAL),
    Entry("conservation_within_{power}", f"area share of cells with |ρ| at most this power of ten, in the variable's units; {RHO}", HARDER,
          "1", "higher", NOT_TRUTH, spaces=ONLY_PHYSICAL),
    Entry("seam_ratio_{direction}", "mean |difference of neighbouring fine cells| across tile borders over that at boundaries of coarse "
          "cells beside them; interval by bootstrap over stretches of border", "orbit2", "1", "one", SEAM),
    Entry("seam_difference_{direction}", "mean |difference of neighbouring fine cells| across tile borders", "orbit2", "field", "truth",
          "Mostly the slope of the field itself: a step shows in the ratio."),
)  # fmt: skip
