"""The merge engine: staged changes, three-way plans and exactly-once merges on Delta tables. A pure library."""
