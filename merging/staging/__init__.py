"""Proposed changes read, typed, checked and written down with the base image of every row."""

from merging.staging.recipe import stage

__all__ = ["stage"]
