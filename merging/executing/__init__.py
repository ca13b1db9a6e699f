"""Merging exactly once, what a merge leaves behind, and merges as a log knows them."""
