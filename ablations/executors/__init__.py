"""Executors: where the runs of a plan are carried out. `local` forks them on this machine."""
