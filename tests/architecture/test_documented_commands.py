"""What the documents tell people to type is there: commands with their options, targets, modules, files."""

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
#: A command up to where its words end: of inline code, of a line of a block, of a pipe, of a sentence in brackets.
COMMAND = re.compile(r"(?:manage\.py|deploy/manage) +([a-z_]+)((?:'[^'\n]*'|(?! #|[`|\n;)]).)*)")
#: Options of other programs, which stand in inline code without them: of podman, and of uvicorn.
OF_OTHERS = {"--build-arg", "--no-proxy-headers"}


def texts() -> Iterator[tuple[Path, str]]:
    """Each document, lines that go on joined, and inline code on one line."""
    for path in DOCUMENTS:
        joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
        yield path, re.sub(r"(?<!`)`[^`]+`(?!`)", lambda code: " ".join(code[0].split()), joined)


@cache
def command_called(name: str) -> tuple[argparse.ArgumentParser, frozenset[str]]:
    """The parser of a command of manage.py, and every option of it and its parts."""
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    return parser, frozenset(_options(parser))


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                yield from _options(part)


def documented() -> list[tuple[str, str, str]]:
    """Every command that the documents name: where, its name, its words."""
    return [
        (path.name, found[1], found[2].strip()) for path, text in texts() for found in COMMAND.finditer(text)
    ]


@pytest.mark.parametrize(("document", "name", "words"), sorted(set(documented())))
def test_a_documented_command_can_be_typed(document: str, name: str, words: str) -> None:
    assert name in get_commands(), f"{document} names manage.py {name}"
    given = shlex.split(words)
    if given:  # without words it is only named
        try:
            command_called(name)[0].parse_args(given)
        except CommandError as error:
            pytest.fail(f"{document}: manage.py {name} {words}: {error}")


def test_a_documented_option_is_one_of_some_command() -> None:
    ours = {
        option
        for name, app in get_commands().items()
        if not app.startswith(("django.", "guardian", "django_"))
        for option in command_called(name)[1]
    }
    named = {
        found[1]
        for path, text in texts()
        if path.name == "operations.md"
        for found in re.finditer(r"`(--[a-z-]+)[^`]*`", text)
    }
    assert named - ours == OF_OTHERS


def test_documented_targets_modules_and_files_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path, text in texts():
        for found in re.finditer(r"(?:`|^ *)make ([a-z]+(?:-[a-z]+)*)[ `\n]", text, re.MULTILINE):
            assert found[1] in targets, f"{path.name} names make {found[1]}"
        for found in re.finditer(r"python -m ((?:benchmarks|tests|demo)[\w.]*)", text):
            assert importlib.util.find_spec(found[1]), f"{path.name} names {found[1]}"
        places = re.findall(r"`((?:deploy|tests|docs|benchmarks|requirements|\.ci)/[\w./@-]+)`", text)
        for place in places:
            assert (ROOT / place).exists(), f"{path.name} names {place}"
