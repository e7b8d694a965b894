"""Stage downscale: a trained model applied to pairs or to a user's own file."""

from orbit2.downscale.ingest import Reading
from orbit2.downscale.job import Settings
from orbit2.downscale.predictor import Downscaler, load_model
from orbit2.downscale.stage import downscale_file, run

__all__ = ["Downscaler", "Reading", "Settings", "downscale_file", "load_model", "run"]
