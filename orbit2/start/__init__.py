"""`orbit2 new`: a run's YAML for files that are there, or for a region of ERA5; sized for this machine and a number of hours. Writes one
file, computes no result."""
