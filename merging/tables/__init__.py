"""Tables as they are: looked at, created, maintained."""
