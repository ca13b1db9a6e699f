"""The Python client by itself; against a live server it is tested in tests/live."""
