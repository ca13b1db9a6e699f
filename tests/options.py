"""What whoever runs the tests may set: the one place of the suite that reads variables of its own."""

import os
from pathlib import Path


def services_required() -> bool:
    """In CI, and wherever REQUIRE_SERVICES is set, a missing service is a failure instead of a skip."""
    return os.environ.get("CI") == "true" or os.environ.get("REQUIRE_SERVICES") == "1"


def browser_required() -> bool:
    """In CI, and wherever REQUIRE_E2E is set, a missing browser is a failure instead of a skip."""
    return os.environ.get("CI") == "true" or os.environ.get("REQUIRE_E2E") == "1"


#: ENGINE_EXAMPLES=500: that many examples of each property, and new ones each time.
ENGINE_EXAMPLES = int(os.environ["ENGINE_EXAMPLES"]) if "ENGINE_EXAMPLES" in os.environ else None
#: RACE_REQUESTS=20 RACE_SEED=4711: longer races, on other content.
RACE_REQUESTS = int(os.environ.get("RACE_REQUESTS", "2"))
RACE_SEED = int(os.environ.get("RACE_SEED", "2013"))
#: HEADGATE_RECORD_SPARK=1: what Apache Spark answers is written to the file that later runs compare with.
RECORD_SPARK = os.environ.get("HEADGATE_RECORD_SPARK") == "1"
#: UPDATE_PICTURES=1: the pictures of the documentation are taken anew.
UPDATE_PICTURES = os.environ.get("UPDATE_PICTURES") == "1"
#: SAMPLE_SEED=4711: the sample that a run takes where it cannot take all; `make test` takes the commit's.
SAMPLE_SEED = int(os.environ["SAMPLE_SEED"]) if os.environ.get("SAMPLE_SEED") else None
#: SITES="azurite gcs": the stores in which the engine's tests have their tables (tests/stores/servers.py).
SITES = tuple(os.environ.get("SITES", "").split())
#: An SQLite database that has all migrations, made by the suite: tests that need one begin with a copy of it.
MIGRATED = Path(os.environ["MIGRATED"]) if os.environ.get("MIGRATED") else None
#: The data of a PostgreSQL cluster whose template1 has all migrations, made by the suite: clusters begin with a copy.
MIGRATED_CLUSTER = Path(os.environ["MIGRATED_CLUSTER"]) if os.environ.get("MIGRATED_CLUSTER") else None
#: Where the suite notes which statements each test asks on SQLite, to repeat on PostgreSQL what asks anything new.
STATEMENTS = Path(os.environ["STATEMENTS"]) if os.environ.get("STATEMENTS") else None
