"""Every code of the API has a class that says what to do."""

import pickle

import headgate
import pytest
from headgate.errors import error_of, known_errors

from config.problems import STATUS_OF_CODE

#: What is the client's own: no server answers it.
OF_THE_CLIENT = {
    "connection_failed",
    "content_unusable",
    "not_headgate",
    "not_signed_in",
    "waited_too_long",
}


def test_every_code_of_the_server_has_a_class_of_its_own() -> None:
    codes = [kind.code for kind in known_errors() if kind.code]
    assert len(codes) == len(set(codes))
    missing = STATUS_OF_CODE.keys() - set(codes)
    assert missing == set(), "client/headgate/errors.py has no class for it"
    assert set(codes) >= OF_THE_CLIENT
    assert STATUS_OF_CODE.keys() & OF_THE_CLIENT == set()


def test_every_class_is_exported_and_says_what_to_do() -> None:
    for kind in known_errors():
        assert getattr(headgate, kind.__name__) is kind
        assert kind.__name__ in headgate.__all__
        problem = {"code": kind.code, "message": "m.", "request_id": "r-1", "scope": "merge", "blockers": []}
        assert kind("m.", problem=problem).what_to_do or kind is headgate.Blocked


def test_a_problem_becomes_its_error_with_all_that_it_says() -> None:
    blockers = [{"code": "approvals", "kind": "wait", "sentence": "One approval is missing."}]
    problem = {"code": "blocked", "message": "Not yet.", "request_id": "r-1", "blockers": blockers}
    error = error_of(problem, 409)
    assert isinstance(error, headgate.Blocked)
    assert (error.code, error.status, error.request_id, error.blockers) == ("blocked", 409, "r-1", blockers)
    assert str(error) == "Not yet. One approval is missing."


def test_a_code_from_a_newer_server_arrives_whole() -> None:
    error = error_of({"code": "moon_full", "message": "Wait.", "phase": 4}, 409)
    assert type(error) is headgate.HeadgateError
    assert (error.code, error.problem["phase"]) == ("moon_full", 4)


@pytest.mark.parametrize("kind", list(known_errors()))
def test_errors_cross_processes(kind: type[headgate.HeadgateError]) -> None:
    error = kind("m.", code="c", status=422, problem={"total": 3})
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    assert (type(again), again.message, again.code, again.status, again.problem) == (
        kind,
        "m.",
        "c",
        422,
        {"total": 3},
    )
