"""The browser tests look at every page there is, with axe-core and at every width: a new one is added to their list."""

from tests.e2e.places import NOT_LOOKED_AT, OF_OPERATORS, PLACES
from tests.matrix.test_page_matrix import TABLE


def test_every_page_is_looked_at() -> None:
    pages = {line.split("|")[0].split()[1] for line in TABLE.splitlines() if line.startswith("GET ")}
    assert pages - {*PLACES, *OF_OPERATORS, *NOT_LOOKED_AT} == set()
