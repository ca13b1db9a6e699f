"""What is watched exists: documents, alert rules and the dashboard name the figures that ``/metrics`` tells."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from config.env import BASE_DIR
from datasets import processes
from datasets.counting import COUNTERS, TIMERS
from datasets.models import ServerProcess

pytestmark = pytest.mark.django_db

RULES = BASE_DIR / "deploy" / "prometheus" / "headgate.rules.yml"
BOARD = BASE_DIR / "deploy" / "grafana" / "headgate.json"
NAME = re.compile(r"\bheadgate_[a-z_]+")


@pytest.fixture
def told() -> dict[str, set[str]]:
    """Every figure of ``/metrics``, as it is asked for, with its labels."""
    for counter in COUNTERS:
        counter.add(*("x" for _ in counter.labels))
    for timer in TIMERS:
        timer.observe(*("x" for _ in timer.labels), seconds=1)
    processes.ProcessReporter(ServerProcess.Kind.WORKER, ["merging"]).report()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(Client().get("/metrics").content.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.setdefault(name, set())
        for sample in family.samples:
            found[name] |= sample.labels.keys() - {"le"}
    return found


def rules() -> list[dict[str, Any]]:
    content = yaml.safe_load(RULES.read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, str]]:
    for panel in json.loads(BOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def names_in(expression: str) -> set[str]:
    """The figures of an expression; of histograms without what their series end in."""
    return {re.sub("_(bucket|sum|count)$", "", name) for name in NAME.findall(expression)}


def test_the_documents_tell_every_figure_with_its_labels(told: dict[str, set[str]]) -> None:
    text = (BASE_DIR / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(headgate_[a-z_]+)` \| ([^|]+) \|", text, flags=re.MULTILINE)
    documented_figures = {name: set(re.findall(r"[a-z_]+", labels)) for name, labels in rows}
    assert documented_figures.keys() == told.keys()
    for name, labels in told.items():  # those that nothing is told of yet have no labels to compare
        assert labels in (set(), documented_figures[name]), name


def test_rules_and_panels_name_only_figures_that_exist(told: dict[str, set[str]]) -> None:
    asked = [*((rule["alert"], rule["expr"]) for rule in rules()), *panels()]
    for title, expression in asked:
        unknown = names_in(expression) - told.keys()
        assert unknown == set(), title
        for labels in re.findall(r"\{([^}]*)\}", expression):
            for label in re.findall(r"([a-z_]+)\s*[!=]", labels):
                of = set().union(*(told[name] for name in names_in(expression))) | {"job"}
                assert label in of, (title, label)
    shown = set().union(*(names_in(expression) for _, expression in panels()))
    assert shown == told.keys(), "the dashboard shows every figure"


def test_every_rule_says_how_urgent_it_is_and_what_is_wrong() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) > 15
    for rule in found:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule
        assert rule["annotations"]["summary"].endswith("."), rule
        assert rule["expr"].count("(") == rule["expr"].count(")"), rule
    groups = yaml.safe_load(RULES.read_text())
    assert {*groups} == {"groups"}


def test_panels_have_numbers_of_their_own_and_stand_on_no_other() -> None:
    board = json.loads(BOARD.read_text())
    numbers = [panel["id"] for panel in board["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(numbers)) == len(set(places)) == len(board["panels"])
