"""What fields look like: similarity of images, spectra, and the structure inside the input's cells."""

from orbit2.metrics.entries.entry import Entry

TITLE = "Structure and spectra"
WANG = "Wang et al. 2004, IEEE Trans. Image Process. 13:600"
PSNR = "Huynh-Thu and Ghanbari 2008, Electron. Lett. 44:800"
ENTRIES = (
    Entry("ssim", "(2μpμo+C1)(2σpo+C2) / ((μp²+μo²+C1)(σp²+σo²+C2)); Gaussian window σ 1.5 (11 × 11), C1 = (0.01 L)², C2 = (0.03 L)², one "
          "L a variable; area-weighted mean over cells whose whole window is valid, mean over samples", WANG, "1", "higher",
          "L decides: with an L of each day's own range, as in ORBIT-2, dry days score near 1 and days cannot be compared. skimage's "
          "default window and torchmetrics' reflected border give other numbers."),
    Entry("psnr_pooled", "10 log10(L² / MSE), MSE pooled over samples", PSNR, "dB", "higher",
          "Nothing but `rmse` on another scale once L is fixed."),
    Entry("psnr_daily_mean", "mean over samples of 10 log10(L² / MSE)", PSNR, "dB", "higher",
          "Mean of logarithms: never below `psnr_pooled`; a perfect sample makes it infinite."),
    Entry("effective_resolution_km", "wavelength at which |log2 P_p/P_o|, of power summed over quarter octaves and made monotone in "
          "wavenumber, passes 1; the shortest where it never does, the longest where it does from the start; zonal (bands), radial "
          "(boxes), spherical (globe)", "Skamarock 2004, Mon. Wea. Rev. 132:3019; the limit and the smoothing are orbit2's", "km", "lower",
          "Noise of the right power has a fine \"resolution\": read it beside `coherent_resolution_km`. Not resolvable, so no row, with "
          "fewer than 10 bins or 2 octaves: in small boxes."),
    Entry("coherent_resolution_km", "wavelength at which the squared coherence |Σ P̂ Ô*|² / (Σ|P̂|² Σ|Ô|²), over rows or ring and "
          "samples, made monotone in wavenumber, falls below 0.5", "Bendat and Piersol 2010, Random Data, ch. 5; the limit is orbit2's",
          "km", "lower", "Blind to amplitude: a blurred field is coherent. n pairs of noise have 1/n."),
    Entry("lsd_db", "sqrt(mean over k of (10 log10 P_o/P_p)²), power below 1e-6 of the maximum left out",
          "Harris et al. 2022, J. Adv. Model. Earth Syst. 14:e2022MS003120", "dB", "lower",
          "Twice the power is 3.0103 dB. CORDEX-ML-Bench leaves out the root, ORBIT-2 takes the natural logarithm of two means over all "
          "bins: not comparable."),
    Entry("fine_pearson_r", "`pearson_r` of p and o minus their area means over the input's cells", "orbit2", "1", "higher",
          "What interpolation cannot know: a fine structure that is only smooth already correlates somewhat."),
    Entry("fine_rmse", "`rmse` of p and o minus their area means over the input's cells", "orbit2", "field", "lower",
          "No fine structure at all has the truth's standard deviation as its error, often less than one that is wrong."),
    Entry("fine_amplitude", "standard deviation of p over that of o, both minus their area means over the input's cells", "orbit2", "1",
          "one", "1 is right only together with a high `fine_pearson_r`: noise can have it too."),
)  # fmt: skip
