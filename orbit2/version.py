"""The version of the code that runs; pyproject.toml, CITATION.cff and containers/ have the same (tests/docs)."""

__version__ = "0.2.0"
