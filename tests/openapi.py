"""The OpenAPI document of the project, read once a process: it is large, and many tests go by it."""

from __future__ import annotations

from typing import Any

import yaml

from config.env import BASE_DIR

FILE = BASE_DIR / "docs" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.load(FILE.read_text(), yaml.CSafeLoader)
