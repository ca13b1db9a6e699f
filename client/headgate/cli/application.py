"""The commands."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from headgate.cli import choices, signing_in
from headgate.cli.exits import Exit, exit_of
from headgate.cli.showing import Output
from headgate.content.rows import json_value
from headgate.errors import HeadgateError, InvalidResolution
from headgate.settings import canonical, find_settings, forget_token, keep_token
from headgate.synchronous.client import Client
from headgate.version import VERSION

application = typer.Typer(
    name="headgate",
    help="Propose, review and merge changes to Delta Lake tables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

CR = Annotated[str, typer.Argument(metavar="CR-n", help="The change request.")]
DATASET = Annotated[str, typer.Argument(metavar="PROJECT/DATASET", help="The dataset.")]


@dataclass(frozen=True)
class Asked:
    """What holds for every command."""

    server: str | None
    output: Output

    @contextmanager
    def client(self) -> Iterator[Client]:
        """The client of the server that is meant."""
        with Client(self.server, progress=False if self.output.as_json else None) as client:
            yield client


@contextmanager
def told_errors(output: Output) -> Iterator[None]:
    """Say what went wrong in a sentence, and end with its exit code."""
    try:
        yield
    except HeadgateError as error:
        output.failed(error)
        raise typer.Exit(exit_of(error)) from error


@application.callback()
def every_command(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option(envvar="HEADGATE_URL", help="The address; else the last one signed in to.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Propose, review and merge changes to Delta Lake tables."""
    if version:
        typer.echo(VERSION)
        raise typer.Exit
    asked = Asked(server, Output(as_json))
    context.obj = asked
    context.with_resource(told_errors(asked.output))


# --- Signing in --------------------------------------------------------------------------------------------


@application.command()
def login(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The server, such as https://headgate.example.com")] = "",
    token: Annotated[
        bool, typer.Option("--token", help="Paste a token of the account page instead of using a browser.")
    ] = False,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do (again for more): read, propose, review, merge, admin."),
    ] = None,
    days: Annotated[int | None, typer.Option(help="How long it holds.")] = None,
    agent: Annotated[
        str, typer.Option(help="The agent that will act with it: what it does is marked so.")
    ] = "",
    keyring: Annotated[
        bool,
        typer.Option(
            help="Keep it in the system's keyring where there is one, else in a file of yours alone."
        ),
    ] = True,
) -> None:
    """Sign in: let this program in from a browser, or paste a token."""
    asked: Asked = context.obj
    place = canonical(address or asked.server or "")
    if token:
        piped = not sys.stdin.isatty()
        key = (sys.stdin.readline() if piped else typer.prompt("Token", hide_input=True, err=True)).strip()
    else:
        key = signing_in.by_device(
            place, scopes=scope or _usual_scopes(agent), days=days, agent=agent, tell=_tell_where
        )
    own = signing_in.whose(place, key)
    kept = keep_token(place, key, in_keyring=keyring)
    asked.output.tell(
        f"Signed in to {place} as {own['username']} ({', '.join(own['scopes'])}). The token is kept in {kept}.",
        {"address": place, "kept_in": kept, **own},
    )


def _usual_scopes(agent: str) -> list[str]:
    """An agent looks and proposes unless its person says more."""
    return ["read", "propose"] if agent else []


def _tell_where(waiting: signing_in.Waiting) -> None:
    Console(stderr=True, highlight=False).print(
        f"Open {waiting.page} and let this program in. It shows the code {waiting.code}.", soft_wrap=True
    )


@application.command()
def logout(context: typer.Context) -> None:
    """Make the token worthless and forget it."""
    asked: Asked = context.obj
    settings = find_settings(asked.server)
    with asked.client() as client:
        client.request("POST", "auth/logout")
    forget_token(settings.address)
    asked.output.tell(f"Signed out of {settings.address}.", {"address": settings.address})


@application.command()
def whoami(context: typer.Context) -> None:
    """Say whose token is used, and what it may do."""
    asked: Asked = context.obj
    settings = find_settings(asked.server)
    own = signing_in.whose(settings.address, settings.token)
    agent = f" for the agent {own['agent']}" if own["agent"] else ""
    sentence = f"{own['username']} at {settings.address}{agent}: {', '.join(own['scopes'])}"
    asked.output.tell(sentence, {"address": settings.address, **own})


# --- Looking -----------------------------------------------------------------------------------------------


@application.command()
def datasets(
    context: typer.Context,
    search: Annotated[str | None, typer.Option(help="Only those whose name has this.")] = None,
) -> None:
    """List the datasets that you have a role on."""
    asked: Asked = context.obj
    with asked.client() as client:
        rows = [
            {"dataset": f"{one['project']}/{one['slug']}", "name": one["name"], "id": one["id"]}
            for one in client.datasets(search=search)
        ]
    asked.output.rows(("dataset", "name", "id"), rows, nothing="You have a role on no dataset yet.")


@application.command()
def status(
    context: typer.Context,
    cr_id: Annotated[
        str | None, typer.Argument(metavar="CR-n", help="One request; else yours that are open.")
    ] = None,
) -> None:
    """Say where a change request stands and what has to happen next."""
    asked: Asked = context.obj
    with asked.client() as client:
        if cr_id is None:
            rows = [_summary(one.data) for one in client.change_requests(mine=True, status=OPEN)]
            asked.output.rows(
                ("request", "status", "dataset", "title"), rows, nothing="None of yours is open."
            )
            return
        found = client.change_request(cr_id)
    wanted = {"draft": "submit", "pending": "request_merge"}.get(found.status, "")
    waits = [one["sentence"] for one in found.data["blockers"].get(wanted, ())]
    sentence = "\n".join(
        [f"{found.cr_id} {found.title}: {found.status}", *(f"  {one}" for one in waits), found.url]
    )
    asked.output.tell(sentence, dict(found.data))


@application.command()
def inbox(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="What you have read, too.")] = False,
    read: Annotated[bool, typer.Option("--read", help="Mark what is shown as read.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, newest first.")] = 50,
) -> None:
    """Show what you were told, why, and what to do next."""
    asked: Asked = context.obj
    with asked.client() as client:
        found = list(itertools.islice(client.notifications(unread=None if everything else True), limit))
        if read and found:
            client.mark_read([one["id"] for one in found if not one["read_at"]])
    if asked.output.as_json:
        asked.output.tell("", found)
        return
    rows = [
        {
            "when": one["occurred_at"][:16].replace("T", " "),
            "what": one["headline"],
            "why": one["why"],
            "next": one["what_to_do"],
        }
        for one in found
    ]
    nothing = "Your inbox is empty." if everything else "There is nothing new."
    asked.output.rows(("when", "what", "why", "next"), rows, nothing=nothing)


OPEN = ("draft", "pending", "merging")


def _summary(data: Any) -> dict[str, Any]:
    dataset = data["dataset"]
    return {
        "request": data["cr_id"],
        "status": data["status"],
        "dataset": f"{dataset['project']}/{dataset['slug']}",
        "title": data["title"],
    }


@application.command()
def diff(
    context: typer.Context,
    cr_id: CR,
    column: Annotated[str | None, typer.Option(help="Only changes of this column.")] = None,
    operation: Annotated[str | None, typer.Option(help="Only insert, update or delete.")] = None,
) -> None:
    """Show which cells a change request changes."""
    asked: Asked = context.obj
    with asked.client() as client:
        found = client.change_request(cr_id).diff(column=column, operation=operation)
        changes = [json_value(change) for change in found]
    if asked.output.as_json:
        asked.output.tell("", changes)
        return
    if not changes:
        asked.output.tell(f"{cr_id} changes nothing.", changes)
        return
    _tell_cells(asked, changes)


def _tell_cells(asked: Asked, changes: Any) -> None:
    """Changed rows, a line for each cell."""
    rows = [
        {
            "": change["operation"],
            "row": ", ".join(f"{name}={_text(value)}" for name, value in change["key"].items()),
            "column": cell["column"],
            "base": cell["base"] if change["operation"] != "insert" else "",
            "proposed": cell["proposed"] if change["operation"] != "delete" else "",
        }
        for change in changes
        for cell in (change["cells"] or [{"column": "", "base": "", "proposed": ""}])
    ]
    asked.output.rows(("", "row", "column", "base", "proposed"), rows, nothing="Nothing changes.")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@application.command()
def blame(
    context: typer.Context,
    dataset: DATASET,
    key: Annotated[list[str], typer.Argument(metavar="COLUMN=VALUE…", help="The row's key.")],
) -> None:
    """Say which change request made each cell of a row what it is."""
    asked: Asked = context.obj
    with asked.client() as client:
        found = client.dataset(dataset).blame(dict(_named(text) for text in key))
    if asked.output.as_json:
        asked.output.tell("", dict(found))
        return
    rows = [
        {
            "column": column,
            "value": origin["value"],
            "from": origin["change_request"]
            or ("outside of Headgate" if origin["from_outside"] else "the beginning"),
        }
        for column, origin in found["cells"].items()
    ]
    asked.output.rows(("column", "value", "from"), rows, nothing="There is no such row now.")


def _named(text: str) -> tuple[str, Any]:
    """A column and its value: JSON where it reads as a number, a truth or null, else the text itself."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is no COLUMN=VALUE.")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, value if isinstance(read, (dict, list)) else read


@application.command()
def verify(context: typer.Context, cr_id: CR) -> None:
    """Check that a merged request's audit files are those that its audit trail names."""
    asked: Asked = context.obj
    with asked.client() as client:
        checked = client.change_request(cr_id).verify()
    sentence = "\n".join([f"{cr_id}: {len(checked)} audit files are as the trail names them.", *checked])
    asked.output.tell(sentence, {"change_request": cr_id, "files": checked})


# --- Proposing ---------------------------------------------------------------------------------------------

DESCRIPTION = Annotated[str, typer.Option(help="Why, in more words.")]
SUBMIT = Annotated[bool, typer.Option("--submit", help="Ask for review at once.")]
WHEN_READY = Annotated[
    bool, typer.Option("--merge-when-ready", help="Submit, and merge once nothing has to be waited for.")
]
ON_NOTHING = Annotated[
    str, typer.Option("--on-nothing-to-change", help="error: exit 6; ignore: exit 0 without a request.")
]
WAIT = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the content is read.")]
TIMEOUT = Annotated[float, typer.Option(help="Seconds to wait.")]


@application.command()
def propose(
    context: typer.Context,
    dataset: DATASET,
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="CSV, Parquet, JSON lines, Arrow, XLSX; - reads it.")
    ],
    title: Annotated[
        str, typer.Option("--title", "-t", help="What the change is for; not needed for a look.")
    ] = "",
    look: Annotated[
        bool, typer.Option("--look", "--dry-run", help="Tell what would change, and propose nothing.")
    ] = False,
    description: DESCRIPTION = "",
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="csv, parquet, jsonl, arrow or xlsx, where the name does not say."),
    ] = None,
    null_token: Annotated[str | None, typer.Option(help="What stands for NULL in CSV.")] = None,
    only_changes: Annotated[
        bool, typer.Option("--only-changes", help="Compare with the table here and send what differs.")
    ] = False,
    new_columns: Annotated[bool, typer.Option(help="Whether the file may bring new columns.")] = True,
    submit: SUBMIT = False,
    merge_when_ready: WHEN_READY = False,
    on_nothing_to_change: ON_NOTHING = "error",
    wait: WAIT = True,
    timeout: TIMEOUT = 600,
) -> None:
    """Propose the rows of a file: the key columns and those that change."""
    asked: Asked = context.obj
    with _file_of(file, file_format or "csv") as path, asked.client() as client:
        if look:
            looked = client.dataset(dataset).look(
                path, file_format=file_format, null_token=null_token or "", timeout=timeout
            )
            _tell_look(asked, looked)
            return
        made = client.dataset(dataset).propose(
            path,
            title=title,
            description=description,
            file_format=file_format,
            null_token=null_token or "",
            merge_schema=new_columns,
            only_changes=only_changes,
            submit=submit,
            merge_when_ready=merge_when_ready,
            on_nothing_to_change=_one_of(on_nothing_to_change, "error", "ignore"),
        )
        _tell_proposed(asked, made, wait=wait, timeout=timeout)


@application.command()
def sql(
    context: typer.Context,
    dataset: DATASET,
    statement: Annotated[
        str, typer.Argument(help="SELECT, UPDATE, DELETE or INSERT over the dataset; - reads it.")
    ],
    title: Annotated[
        str, typer.Option("--title", "-t", help="What the change is for; without it, only a look.")
    ] = "",
    description: DESCRIPTION = "",
    submit: SUBMIT = False,
    merge_when_ready: WHEN_READY = False,
    on_nothing_to_change: ON_NOTHING = "error",
    wait: WAIT = True,
    timeout: TIMEOUT = 600,
) -> None:
    """Propose what a statement would change, or, without a title, look at it."""
    asked: Asked = context.obj
    text = sys.stdin.read() if statement == "-" else statement
    with asked.client() as client:
        target = client.dataset(dataset)
        if not title:
            looked = target.preview(text, timeout=timeout)
            _tell_preview(asked, looked)
            return
        made = target.propose(
            sql=text,
            title=title,
            description=description,
            submit=submit,
            merge_when_ready=merge_when_ready,
            on_nothing_to_change=_one_of(on_nothing_to_change, "error", "ignore"),
        )
        _tell_proposed(asked, made, wait=wait, timeout=timeout)


def _tell_preview(asked: Asked, found: Any) -> None:
    if asked.output.as_json:
        asked.output.tell("", dict(found))
        return
    counts = [f"{found[f'rows_{kind}']:,} {kind}" for kind in KINDS if found[f"rows_{kind}"]]
    would = f"Would change {', '.join(counts)}" if counts else "Would change nothing"
    asked.output.tell(f"{would} at version {found['version']}. Give --title to propose it.", found)
    for warning in found["warnings"]:
        asked.output.tell(warning, found)
    if found["rows"]:
        _tell_cells(asked, found["rows"])


def _tell_look(asked: Asked, looked: Any) -> None:
    found = looked["found"]
    if asked.output.as_json:
        asked.output.tell("", dict(looked))
        return
    _tell_preview(asked, found)
    for name, cells in found["cells_becoming_null"].items():
        asked.output.tell(f"{cells:,} cells of {name} would become NULL.", looked)
    for column in found["unknown_columns"]:
        meant = f"did you mean {column['suggestion']}?" if column["suggestion"] else "it would be a new one"
        asked.output.tell(
            f"Column {column['name']} is not in the table: {meant} It was left out here.", looked
        )


def _tell_proposed(asked: Asked, made: Any, *, wait: bool, timeout: float) -> None:
    if made is not None and wait:
        made = made.wait(timeout)
    if made is None:
        asked.output.tell("There is nothing to change: the rows equal the table.", None)
        return
    revision = made.data.get("revision") or {}
    counts = [f"{revision[f'rows_{kind}']:,} {kind}" for kind in KINDS if revision.get(f"rows_{kind}")]
    sentence = f"{made.cr_id} {made.status}{': ' if counts else ''}{', '.join(counts)}\n{made.url}"
    asked.output.tell(sentence, dict(made.data))


KINDS = ("inserted", "updated", "deleted")


def _one_of(value: str, *possible: str) -> Any:
    if value not in possible:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(possible)}.")
    return value


@contextmanager
def _file_of(name: str, ending: str) -> Iterator[Path]:
    """The file that is meant; standard input is kept on disk, however much it is."""
    if name != "-":
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="headgate-") as folder:
        path = Path(folder) / f"stdin.{ending}"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


# --- Conflicts ---------------------------------------------------------------------------------------------


@application.command()
def conflicts(
    context: typer.Context,
    cr_id: CR,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write them to this file, to be filled in (- prints).")
    ] = None,
) -> None:
    """Show what the request and others both changed."""
    asked: Asked = context.obj
    with asked.client() as client:
        found = client.change_request(cr_id).conflicts()
    if csv is None:
        rows = [
            {
                "row": ", ".join(f"{name}={_text(value)}" for name, value in one["key"].items()),
                **{name: one[name] for name in ("column", "base", "current", "proposed")},
                "choice": one["choice"] or "",
            }
            for one in found
        ]
        columns = ("row", "column", "base", "current", "proposed", "choice")
        shown = [dict(one) for one in found] if asked.output.as_json else rows
        asked.output.rows(columns, shown, nothing=f"{cr_id} has no conflicts.")
    elif str(csv) == "-":
        choices.write_conflicts(found, sys.stdout)
    else:
        with csv.open("w", newline="", encoding="utf-8") as file:
            choices.write_conflicts(found, file)
        told = {"file": str(csv), "conflicts": len(found), "unresolved": found.unresolved}
        asked.output.tell(f"{len(found):,} conflicts of {cr_id} are in {csv}.", told)


@application.command()
def resolve(
    context: typer.Context,
    cr_id: CR,
    csv: Annotated[Path | None, typer.Option("--csv", help="A file of `conflicts --csv`, filled in.")] = None,
    choose: Annotated[
        str | None, typer.Option("--all", help="One choice for all that are open: current, proposed or base.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=CHOICE", help="A choice for one column (again for more)."),
    ] = None,
) -> None:
    """Choose for conflicts. All choices are stored, or none."""
    asked: Asked = context.obj
    if sum((csv is not None, choose is not None, bool(column))) != 1:
        raise typer.BadParameter("Give one of --csv, --all and --column.")
    with asked.client() as client:
        request = client.change_request(cr_id)
        if csv is not None:
            if not csv.is_file():
                raise InvalidResolution(f"There is no file {csv}.")
            chosen: Any = choices.read_choices(csv, request.conflicts())
        else:
            chosen = choose or dict(_column_choice(text) for text in column or ())
        left = request.resolve(chosen)
    asked.output.tell(f"{left:,} conflicts of {cr_id} are left.", {"unresolved": left})


def _column_choice(text: str) -> tuple[str, str]:
    name, equals, choice = text.rpartition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is no COLUMN=CHOICE.")
    return name, choice


# --- Merging -----------------------------------------------------------------------------------------------


@application.command()
def submit(context: typer.Context, cr_id: CR) -> None:
    """Ask for review."""
    asked: Asked = context.obj
    with asked.client() as client:
        request = client.change_request(cr_id).submit()
    asked.output.tell(f"{cr_id} is {request.status}.", dict(request.data))


@application.command()
def merge(
    context: typer.Context,
    cr_id: CR,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for its end.")] = True,
    timeout: TIMEOUT = 600,
    message: Annotated[str, typer.Option("--message", "-m", help="What the table's log says of it.")] = "",
    override: Annotated[
        str, typer.Option("--override-because", help="As an owner, merge over what is missing: the reason.")
    ] = "",
) -> None:
    """Merge a change request."""
    asked: Asked = context.obj
    with asked.client() as client:
        run = client.change_request(cr_id).merge(wait=wait, timeout=timeout, message=message, reason=override)
    result = run.get("result")
    sentence = (
        f"{cr_id} is merged as version {result['merged_version']}."
        if result
        else f"Run {run['id']} is {run['status']}."
    )
    asked.output.tell(sentence, dict(run))


@application.command()
def revert(
    context: typer.Context,
    cr_id: CR,
    submit: SUBMIT = False,
) -> None:
    """Begin a change request that proposes what was there before one was merged."""
    asked: Asked = context.obj
    with asked.client() as client:
        made = client.change_request(cr_id).revert()
        if submit:
            made.submit()
    asked.output.tell(f"{made.cr_id} {made.status}: {made.title}\n{made.url}", dict(made.data))


@application.command()
def mcp(context: typer.Context) -> None:
    """Serve the Model Context Protocol on standard input and output, for agents."""
    asked: Asked = context.obj
    try:
        from headgate.agents import serve
    except ImportError as error:
        typer.echo(f"This needs another package ({error.name}): pip install 'headgate[mcp]'", err=True)
        raise typer.Exit(Exit.FAILED) from error
    serve(find_settings(asked.server))
