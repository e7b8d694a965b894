# %% [markdown]
# # Read a report
#
# A report is one HTML page, `results/<run>/report/index.html`, that opens without a network; every number in it is a row of a table. This
# notebook makes the report of the [quickstart](quickstart.ipynb)'s run and goes through it with the table beside it.

# %% tags=["progress"]
# !orbit2 run week.yaml report

# %% [markdown]
# ## The headline
#
# What stands first in the page, in text: the model beside the best interpolation of the same input, and beside the best of all baselines,
# among them corrections of each cell's mean error, fitted to the same training samples. Losses are named as plainly as wins.

# %%
# !orbit2 report headline results/week

# %% [markdown]
# ## The figure beside it
#
# RMSE over that of bicubic interpolation: left of the line is better. Compare the model with the leftmost of the others, not with nearest
# neighbours, which are easily beaten. A win in rain counts in mm/day and in ln(1 + mm/day) only together.

# %%
from IPython.display import Image

Image("results/week/report/figures/skill.png", width=800)

# %% [markdown]
# ## Every number is a row
#
# `metrics.parquet` is one long table. A score belongs to a task, a model, a variable, a space (rain in mm/day and in ln(1 + mm/day)), a
# region and a season; [Metrics](../metrics.md) has the formula of each, its units, and the trap in it.

# %%
import pandas as pd

scores = pd.read_parquet("results/week/evaluate/metrics.parquet")
whole = scores.query("task == 'test' and region == 'global' and season == 'all' and protocol == 'standard'")
rmse = whole[whole["metric"] == "rmse"].pivot_table(index=["variable", "space"], columns="model", values="value")
rmse.T.round(3)

# %% [markdown]
# Where is it good? The same score by region:

# %%
import matplotlib.pyplot as plt

skill = scores.query("metric == 'rmse_skill_vs_bicubic' and model == 'small' and space == 'physical' and season == 'all'")
by_region = skill.pivot_table(index="region", columns="variable", values="value")
axis = by_region.plot.barh(figsize=(7, 3.4), color=["#c8553d", "#1f5c99"])
axis.axvline(0, color="k", linewidth=1)
axis.set(xlabel="skill over bicubic interpolation", ylabel="")
axis.legend(title="")
plt.tight_layout()

# %% [markdown]
# ## How sure are these numbers?
#
# `ci_low` and `ci_high` are 95 % intervals from other days of the same record. Here there are none, on purpose: four frames of 22 hours
# would promise too much. They come with 60 days of test data or more ([how sure the scores
# are](../diagnostics.md#how-sure-the-scores-are)).

# %%
own = whole.query("model == 'small' and metric in ['rmse', 'bias', 'pearson_r']")
own[["variable", "space", "metric", "value", "ci_low", "ci_high", "n", "method"]].round(3)

# %% [markdown]
# ## May I use it?
#
# The page to decide from answers by region and use: green for use, yellow for with care, red for not, against tolerances that you set
# (`report.tolerance`). "With care" is the most that four frames can earn.

# %%
Image("results/week/report/figures/decision_maps.png", width=800)

# %% [markdown]
# Then, in this order: the [traps](../beware.md) of scores; spectra (is it as rough as the truth?); distributions (are the extremes
# there?); maps of errors (where?). All sections: [what the report shows](../diagnostics.md#what-the-report-shows). Two products that
# orbit2 did not make are judged in the same way: [any two products](../judge.md).
