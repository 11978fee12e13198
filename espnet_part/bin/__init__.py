"""Commands: one thin module each, quick to start, on top of everything else."""
