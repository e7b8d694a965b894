"""Climate of daily series: monsoon, seasonality, sections, the nine domains. Pure functions of arrays; never opens a file of a run."""
