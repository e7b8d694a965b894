"""`python -m orbit2`: the same as the `orbit2` command (what torchrun and srun start)."""

from orbit2.cli import main

main()
