"""Proposed changes read, typed, checked and written down with the base image of every row."""

from merging.staging.recipe import content_digest, new_folder, stage

__all__ = ["content_digest", "new_folder", "stage"]
