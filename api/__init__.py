"""The REST API under ``/api/v1/`` and the contract ``POST /delta/merge-cr``.

Views parse, call one service or selector, and serialize. Errors become problem+json in ``config/problems.py``.
"""
