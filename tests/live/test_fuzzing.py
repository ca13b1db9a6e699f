"""The live server against its own document, with inputs that Schemathesis makes up, for a caller of each role.

The seed and the number of inputs are fixed: each run sends the same. All checks of Schemathesis are asked; what is
widened or left out says why in ``_configured``.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from accounts.models import SignInCount
from accounts.scopes import Scope
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.roles import Role
from tests import options
from tests.api.clients import token_of
from tests.factories import fresh, person_with
from tests.openapi import DOCUMENT, FILE

CALLERS = ("viewer", "contributor", "owner", "staff", "read")
#: Inputs made up at random for each operation, where a run takes a sample and where it takes all.
EXAMPLES = 2 if options.SAMPLE_SEED is None else 1
SEED = 2013
NO_GUESSES: dict[str, Any] = {"error-feedback": {"enabled": False}}
#: What may be answered to an input that fits its schema.
ACCEPTED = ["2xx", "401", "403", "404", "409", "410", "412", "422", "429"]
#: Its number is that of a token, not that of a version.
TOKEN = "/api/v1/auth/tokens/{number}"
#: Signing out is left out: it ends the token that every call sends. Streams are, too: their answers do not end.
PATHS = sorted(
    path for path in set(DOCUMENT["paths"]) - {"/api/v1/auth/logout", TOKEN} if not path.endswith("/stream")
)
#: As they are dealt where every border of every parameter is tried.
PARTS = [*(PATHS[number::10] for number in range(10)), [TOKEN]]


def key_of(kind: str, dataset: Dataset) -> str:
    """The key of a token of somebody new of that kind."""
    if kind == "staff":
        person = person_with(Role.VIEWER, dataset)
        make_operator(person)
        return token_of(fresh(person))
    if kind == "read":
        return token_of(person_with(Role.OWNER, dataset), Scope.READ)
    return token_of(person_with(Role(kind), dataset))


@pytest.fixture(autouse=True)
def _forgotten_attempts(server: str) -> Iterator[None]:
    """Passwords are made up too: the address of all tests here is not held to it afterwards."""
    yield
    SignInCount.objects.all().delete()


@pytest.mark.parametrize("kind", CALLERS)
def test_whatever_is_sent_the_answer_is_one_that_the_document_knows(
    server: str, dataset: Dataset, known: dict[str, str], kind: str
) -> None:
    config = _configured(server, key_of(kind, dataset), known, phase="fuzzing")
    failures, statuses = _attacked(config, PATHS)
    assert failures == {}, _told(failures)
    assert statuses.total() > 100
    assert statuses[200] > 10


@pytest.mark.sample(2)
@pytest.mark.parametrize("part", range(len(PARTS)))
@pytest.mark.parametrize("kind", CALLERS)
def test_at_every_border_the_answer_is_one_that_the_document_knows(
    server: str, dataset: Dataset, known: dict[str, str], kind: str, part: int
) -> None:
    config = _configured(
        server,
        key_of(kind, dataset),
        {**known, "number": known["token"]} if PARTS[part] == [TOKEN] else known,
        phase="coverage",
    )
    failures, statuses = _attacked(config, PARTS[part])
    assert failures == {}, _told(failures)
    assert statuses.total() > 5


def _configured(server: str, key: str, known: dict[str, str], *, phase: str) -> SchemathesisConfig:
    addresses: dict[str, Any] = {
        f"path.{name}": int(value) if value.isdecimal() else value
        for name, value in known.items()
        if name != "token"
    }
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "cache": {"enabled": False},
            "base-url": server,
            "headers": {"Authorization": f"Token {key}"},
            "parameters": addresses,
            "continue-on-failure": True,
            # A schema says less than is looked at: whether a cursor is ours, a version or a person is there, a suite
            # can be checked, If-Match names what is stored. All of that is 422, 410 and 412, as the document says.
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
            "generation": {"max-examples": EXAMPLES, "database": "none", "no-shrink": True},
            # What it guesses from refusals is not what the document says: a member named in one is not required.
            "phases": {
                name: {"enabled": name == phase, **guesses}
                for name, guesses in {
                    "examples": {},
                    "coverage": {},
                    "fuzzing": NO_GUESSES,
                    "stateful": {},
                }.items()
            },
        }
    )


def _attacked(config: SchemathesisConfig, paths: list[str]) -> tuple[dict[str, str], Counter[int]]:
    """What is wrong, each kind once with an example, and how often each status was answered."""
    schema = schemathesis.openapi.from_path(FILE, config=config).include(path=paths)
    failures: dict[str, str] = {}
    statuses: Counter[int] = Counter()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            statuses.update(
                sent.response.status_code for sent in event.recorder.interactions.values() if sent.response
            )
            failures |= dict(_failures(event))
        elif isinstance(event, events.NonFatalError):
            failures[event.label] = repr(event.value)
        elif isinstance(event, events.FatalError):
            raise event.exception
    return failures, statuses


def _failures(event: events.ScenarioFinished) -> Iterator[tuple[str, str]]:
    for case_id, checks in event.recorder.checks.items():
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                sent = event.recorder.cases[case_id].value
                answer = event.recorder.interactions[case_id].response
                said = answer.text[:400] if answer else "nothing"
                what = f"{event.recorder.label}: {check.name}: {failure.message}"
                yield what + said[:300], f"{sent.as_curl_command()[:1000]}\n{said}"


def _told(failures: dict[str, str]) -> str:
    return "\n\n".join(f"{what}\n{example}" for what, example in failures.items())
