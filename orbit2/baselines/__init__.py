"""What every model is compared with: interpolations of the coarse input, and corrections fitted to the training block. No network."""

from orbit2.baselines.fitted import FITTED
from orbit2.baselines.interpolation import METHODS, interpolate, methods_for

BASELINES = (*METHODS, *FITTED)  # every name that a row of scores can have which is no model

__all__ = ["BASELINES", "FITTED", "METHODS", "interpolate", "methods_for"]
