"""The runs that come with orbit2 and need nothing but providers: all but the one on a newcomer's own files, which are not there."""

from orbit2.config.load import CONFIG_ROOT

OWN = "own_data"  # walked by tests/workflow/test_own_data.py
RUNS = sorted(path for path in (CONFIG_ROOT / "runs").glob("*.yaml") if path.stem != OWN)
