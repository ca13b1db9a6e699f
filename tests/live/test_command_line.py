"""The command line against the server itself: signing in, proposing, choosing, merging; exit codes and JSON."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from headgate import settings
from headgate.cli import signing_in
from headgate.cli.application import application
from headgate.cli.exits import Exit
from typer.testing import CliRunner, Result

from accounts import devices
from changerequests.models import ChangeRequest
from config.env import BASE_DIR
from datasets.models import Dataset
from datasets.roles import Role
from notifications.services.dispatching import dispatch
from tests.api.clients import token_of
from tests.factories import DatasetFactory, person_with, rows_of

pytestmark = pytest.mark.usefixtures("merging_worker")


class Terminal:
    """Somebody who types commands."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def run(self, *arguments: str, text: str | None = None) -> Result:
        return CliRunner().invoke(application, arguments, input=text, env=self.environment)

    def json(self, *arguments: str, text: str | None = None) -> Any:
        answer = self.run("--json", *arguments, text=text)
        assert answer.exit_code == 0, (answer.output, answer.exception)
        return json.loads(answer.stdout)


@pytest.fixture
def planes(delta_data_root: Path) -> Dataset:
    """A dataset of one's own whose requests need no approval."""
    made: Dataset = DatasetFactory.create(required_approvals=0)
    return made


@pytest.fixture
def person(planes: Dataset) -> User:
    """Its owner."""
    return person_with(Role.OWNER, planes)


@pytest.fixture
def terminal(server: str, person: User, tmp_path: Path) -> Terminal:
    """A terminal whose environment has the owner's token."""
    return Terminal(
        {
            "HEADGATE_URL": server,
            "HEADGATE_TOKEN": token_of(person),
            "HEADGATE_CONFIG": str(tmp_path / "tokens.json"),
            "COLUMNS": "200",
        }
    )


def name_of(dataset: Dataset) -> str:
    return f"{dataset.project.slug}/{dataset.slug}"


def test_from_standard_input_to_the_merged_table(terminal: Terminal, planes: Dataset) -> None:
    proposed = terminal.json(
        "propose", name_of(planes), "-", "-t", "More seats", "--submit", text="tailnum,seats\nN1,99\n"
    )
    cr_id = proposed["cr_id"]
    assert proposed["status"] == "pending"
    [change] = terminal.json("diff", cr_id)
    assert [(cell["column"], cell["proposed"]) for cell in change["cells"]] == [("seats", 99)]
    assert "N1" in terminal.run("diff", cr_id).stdout

    merged = terminal.json("merge", cr_id)
    assert merged["status"] == "succeeded"
    assert {row["tailnum"]: row["seats"] for row in rows_of(planes)}["N1"] == 99
    assert cr_id in terminal.run("blame", name_of(planes), "tailnum=N1").stdout
    assert terminal.json("status", cr_id)["status"] == "merged"
    assert terminal.json("verify", cr_id)["files"]


def test_a_statement_is_looked_at_before_it_is_proposed(terminal: Terminal, planes: Dataset) -> None:
    statement = "UPDATE dataset SET seats = 7 WHERE tailnum = 'N1'"
    looked = terminal.run("sql", name_of(planes), statement)
    assert looked.exit_code == 0, looked.output
    assert "Would change 1 updated at version 0." in looked.stdout
    assert "tailnum=N1" in looked.stdout
    assert terminal.json("sql", name_of(planes), statement)["rows_updated"] == 1
    assert not ChangeRequest.objects.filter(dataset=planes).exists()
    assert terminal.json("sql", name_of(planes), statement, "-t", "Seats")["status"] == "draft"
    misspelt = terminal.run("sql", name_of(planes), f'UPDATE "{planes.slug}" SET setas = 7 WHERE true')
    assert (misspelt.exit_code, "seats" in misspelt.stderr) == (4, True)
    assert "line 1, character" in misspelt.stderr
    assert "Mend the statement at the place that is named" in misspelt.stderr


def test_the_inbox_tells_and_a_merge_is_reverted(
    terminal: Terminal, planes: Dataset, person: User, server: str
) -> None:
    other = person_with(Role.CONTRIBUTOR, planes, username="carla-of-the-inbox")
    theirs = Terminal({**terminal.environment, "HEADGATE_TOKEN": token_of(other)})
    dispatch()
    assert "changed your role" in theirs.run("inbox", "--read").stdout
    assert "There is nothing new." in theirs.run("inbox").stdout
    cr_id = theirs.json(
        "propose", name_of(planes), "-", "-t", "More seats", "--submit", text="tailnum,seats\nN1,99\n"
    )["cr_id"]
    terminal.json("merge", cr_id)
    dispatch()
    [news] = theirs.json("inbox")
    assert (news["change_request"], news["kind"], news["read_at"]) == (cr_id, "merged", None)
    told = theirs.run("inbox", "--read").stdout
    assert news["headline"] in told
    assert theirs.json("inbox") == []
    assert theirs.json("inbox", "--all")[0]["id"] == news["id"]

    back = terminal.json("revert", cr_id, "--submit")
    assert back["status"] == "pending"
    assert [change["cells"][0]["proposed"] for change in terminal.json("diff", back["cr_id"])] == [149]
    assert theirs.run("revert", cr_id).exit_code == Exit.NO_ACCESS


def test_a_file_is_looked_at_before_it_is_proposed(
    terminal: Terminal, planes: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "seats.csv"
    path.write_text('tailnum,seats,nmae\nN1,"150",x\nN2,,y\n')
    told = terminal.run("propose", name_of(planes), str(path), "--look")
    assert told.exit_code == 0, told.output
    for sentence in (
        "Would change 2 updated",
        "1 cells of seats would become NULL",
        "Column nmae is not in the table",
    ):
        assert sentence in " ".join(told.output.split())
    looked = terminal.json("propose", name_of(planes), str(path), "--dry-run")
    assert [one["name"] for one in looked["found"]["unknown_columns"]] == ["nmae"]
    assert not ChangeRequest.objects.filter(dataset=planes).exists()


@pytest.mark.parametrize(
    ("arguments", "text", "code", "said"),
    [
        (("propose", "<planes>", "-", "-t", "Bad"), "tailnum,seats\nN1,many\n", 4, "line 2"),
        (("propose", "<planes>", "-", "-t", "Same"), "tailnum,seats\n", 6, "nothing to change"),
        (("propose", "no/such", "-", "-t", "Lost"), "tailnum,seats\nN1,9\n", 7, ""),
        (("merge", "CR-0"), None, 7, ""),
        (("propose", "<planes>"), None, 2, ""),
        (("resolve", "CR-1", "--all", "current", "--column", "a=base"), None, 2, ""),
    ],
)
def test_what_goes_wrong_has_an_exit_code_and_a_sentence(
    terminal: Terminal, planes: Dataset, arguments: tuple[str, ...], text: str | None, code: int, said: str
) -> None:
    answer = terminal.run(*(name_of(planes) if one == "<planes>" else one for one in arguments), text=text)
    assert (answer.exit_code, said in answer.stderr) == (code, True), answer.stderr
    assert answer.stdout == ""
    assert not ChangeRequest.objects.filter(dataset=planes).exists()


def test_a_server_that_does_not_answer_is_worth_another_try(terminal: Terminal, monkeypatch: Any) -> None:
    monkeypatch.setattr("headgate.protocol.Retries.attempts", 1)
    terminal.environment["HEADGATE_URL"] = "http://127.0.0.1:9"
    answer = terminal.run("--json", "datasets")
    assert answer.exit_code == 8
    assert json.loads(answer.stderr)["code"] == "connection_failed"


def test_a_viewer_is_told_what_to_do(terminal: Terminal, planes: Dataset) -> None:
    terminal.environment["HEADGATE_TOKEN"] = token_of(person_with(Role.VIEWER, planes))
    answer = terminal.run("propose", name_of(planes), "-", "-t", "No", text="tailnum,seats\nN1,9\n")
    assert answer.exit_code == 7
    assert "may not propose" in answer.stderr


def test_conflicts_go_out_as_csv_and_come_back(terminal: Terminal, planes: Dataset, tmp_path: Path) -> None:
    mine = terminal.json(
        "propose", name_of(planes), "-", "-t", "Mine", "--submit", text="tailnum,seats\nN1,7\nN2,8\n"
    )
    other = terminal.json(
        "propose", name_of(planes), "-", "-t", "Theirs", text="tailnum,seats\nN1,70\nN2,80\n"
    )
    terminal.json("merge", other["cr_id"])
    file = tmp_path / "conflicts.csv"
    told = terminal.json("conflicts", mine["cr_id"], "--csv", str(file))
    assert told["unresolved"] == 2
    assert terminal.run("merge", mine["cr_id"]).exit_code in (3, 5)

    head, first, second = file.read_text().splitlines()
    place = head.split(",").index("choice")
    filled = [line.split(",") for line in (first, second)]
    filled[0][place], filled[1][place], filled[1][place + 1] = "proposed", "custom", "44"
    file.write_text("\n".join([head, *(",".join(line) for line in filled)]) + "\n")
    assert terminal.json("resolve", mine["cr_id"], "--csv", str(file)) == {"unresolved": 0}
    terminal.json("merge", mine["cr_id"])
    assert {row["tailnum"]: row["seats"] for row in rows_of(planes)} | {"N1": 7, "N2": 44} == {
        row["tailnum"]: row["seats"] for row in rows_of(planes)
    }

    file.write_text(f"{head}\n{first.replace('N1', 'N9', 1)[:-1]}\n".replace(",,", ",base,", 1))
    assert terminal.run("resolve", mine["cr_id"], "--csv", str(file)).exit_code != 0


def test_signing_in_by_device_keeps_a_token_that_only_its_person_may_read(
    server: str, person: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_in(waiting: signing_in.Waiting) -> None:
        devices.decide(user_code=waiting.code, person=person, let_in=True)

    monkeypatch.setattr("headgate.cli.application._tell_where", let_in)
    config = tmp_path / "deep" / "tokens.json"
    terminal = Terminal({"HEADGATE_CONFIG": str(config), "HEADGATE_URL": "", "HEADGATE_TOKEN": ""})
    signed_in = terminal.json("login", server, "--no-keyring", "--agent", "Claude")
    assert (signed_in["username"], signed_in["agent"]) == (person.username, "Claude")
    assert signed_in["scopes"] == ["read", "propose"]
    assert (config.stat().st_mode & 0o777, config.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert terminal.json("whoami")["username"] == person.username  # the server is the one signed in to last

    terminal.json("logout")
    assert terminal.run("whoami").exit_code == 7
    monkeypatch.setenv("HEADGATE_CONFIG", str(config))
    assert settings.kept_tokens() == {}


def test_a_pasted_token_that_opens_nothing_is_not_kept(server: str, tmp_path: Path) -> None:
    config = tmp_path / "tokens.json"
    terminal = Terminal({"HEADGATE_CONFIG": str(config), "HEADGATE_TOKEN": ""})
    answer = terminal.run("login", server, "--token", text="nothing\n")
    assert answer.exit_code == 7
    assert not config.exists()


def test_the_page_names_every_exit_code() -> None:
    page = (BASE_DIR / "docs" / "command-line.md").read_text()
    assert [int(code) for code in re.findall(r"^\| (\d) \|", page, re.MULTILINE)] == [
        0,
        1,
        2,
        *list(Exit)[1:],
    ]
    said = set(re.findall(r"^headgate (\w+)", page, re.MULTILINE))
    assert said <= {getattr(command.callback, "__name__", "") for command in application.registered_commands}
