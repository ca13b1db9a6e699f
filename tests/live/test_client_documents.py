"""What docs/client.md and the example notebook show works, block by block."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from config.env import BASE_DIR
from datasets.roles import Role
from tests.api.clients import token_of
from tests.factories import DatasetFactory, ProjectFactory, give_role, person_with

pytestmark = pytest.mark.usefixtures("merging_worker")


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def cells_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run(code: str, names: dict[str, Any]) -> Any:
    """Run a block; gives the value of a last line that is an expression, as notebooks do."""
    parsed = ast.parse(code)
    last = parsed.body[-1] if parsed.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(parsed, "block", "exec"), names)  # noqa: S102  (our own documents)
        return None
    exec(compile(ast.Module(parsed.body[:-1], []), "block", "exec"), names)  # noqa: S102
    return eval(compile(ast.Expression(last.value), "block", "eval"), names)  # noqa: S307


@pytest.fixture
def names(server: str, delta_data_root: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What blocks find: the server's address and a token of an owner of the dataset that they speak of."""
    project = ProjectFactory.create(slug=re.sub(r"\W", "-", request.node.name.lower())[:40])
    planes = DatasetFactory.create(project=project, slug="planes")
    owner = person_with(Role.OWNER, planes)
    carl, _ = User.objects.get_or_create(username="carl")  # nothing is cleared up between tests of one server
    give_role(carl, planes, Role.CONTRIBUTOR)
    return {"address": server, "token": token_of(owner), "project": project.slug}


def test_the_page_works(names: dict[str, Any]) -> None:
    blocks = blocks_of(BASE_DIR / "docs" / "client.md")
    assert len(blocks) > 8
    for block in blocks:
        run(block.replace("new-york-2013/planes", f"{names['project']}/planes"), names)
    names["hg"].close()


def test_the_notebook_works(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_URL", names["address"])
    monkeypatch.setenv("HEADGATE_TOKEN", names["token"])
    shown = []
    for cell in cells_of(BASE_DIR / "docs" / "notebooks" / "propose_and_merge.ipynb"):
        value = run(cell.replace("new-york-2013/planes", f"{names['project']}/planes"), names)
        if hasattr(value, "_repr_html_"):
            shown.append(value._repr_html_())
    names["hg"].close()
    assert any("→" in html for html in shown), "a diff is shown"
