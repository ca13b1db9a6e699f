"""What docs/client.md shows works, block by block."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from config.env import BASE_DIR
from datasets.roles import Role
from tests.api.clients import token_of
from tests.factories import DatasetFactory, ProjectFactory, person_with

pytestmark = pytest.mark.usefixtures("merging_worker")


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def run(code: str, names: dict[str, Any]) -> None:
    """Run a block."""
    exec(compile(ast.parse(code), "block", "exec"), names)  # noqa: S102  (our own documents)


@pytest.fixture
def names(server: str, delta_data_root: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What blocks find: the server's address and a token of an owner of the dataset that they speak of."""
    project = ProjectFactory.create(slug=re.sub(r"\W", "-", request.node.name.lower())[:40])
    planes = DatasetFactory.create(project=project, slug="planes")
    owner = person_with(Role.OWNER, planes)
    return {"address": server, "token": token_of(owner), "project": project.slug}


def test_the_page_works(names: dict[str, Any]) -> None:
    blocks = blocks_of(BASE_DIR / "docs" / "client.md")
    assert len(blocks) > 8
    for block in blocks:
        run(block.replace("aviation/planes", f"{names['project']}/planes"), names)
    names["hg"].close()
