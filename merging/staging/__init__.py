"""Proposed changes read, typed, checked and written down with the base image of every row."""

from merging.staging.recipe import content_digest, stage

__all__ = ["content_digest", "stage"]
