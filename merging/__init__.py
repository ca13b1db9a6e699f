"""The merge engine: staging, three-way plans and exactly-once merges on Delta tables. A pure library."""
