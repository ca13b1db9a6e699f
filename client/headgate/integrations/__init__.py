"""Headgate in other people's schedulers: one thin module each, which needs that scheduler and nothing else."""
