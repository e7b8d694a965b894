"""Scores in four interchangeable parts: Statistic (mergeable) -> Metric -> Binning -> Weighting. Never reads a configuration."""
