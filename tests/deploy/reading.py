"""What the files in ``deploy/`` say, as the programs that they are for read them: commands, environments, questions."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from config.env import BASE_DIR

DEPLOY = BASE_DIR / "deploy"
#: Where the image and the units have the checkout.
INSTALLED = "/opt/headgate"


@dataclass(frozen=True)
class Instruction:
    """A line of a Containerfile."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """What stands in brackets, as its programs get it."""
        return [str(word) for word in json.loads(self.rest[self.rest.index("[") :])]


def containerfile() -> list[Instruction]:
    """The instructions of the image, in order (none of ours goes over more than a line)."""
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    split = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [Instruction(name, rest) for name, rest in split]


def image_command() -> list[str]:
    """What a container of the image starts unless it is told otherwise."""
    [command] = [one.words for one in containerfile() if one.name == "CMD"]
    return command


def image_environment() -> dict[str, str]:
    """What every process of the image has."""
    [line] = [
        one.rest for one in containerfile() if one.name == "ENV" and "DJANGO_SETTINGS_MODULE" in one.rest
    ]
    return dict(part.split("=", 1) for part in shlex.split(line))


def build_step(containing: str) -> str:
    """The one line of the shell with which the image is built that has these words."""
    [line] = [one.rest for one in containerfile() if one.name == "RUN" and containing in one.rest]
    return line


def compose(**variables: str) -> dict[str, Any]:
    """The compose file, with its variables in place."""

    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(":")
        return variables.get(name, default.removeprefix("-") if default.startswith("-") else "")

    text = (DEPLOY / "compose.yaml").read_text()
    loaded = yaml.safe_load(re.sub(r"(?<!\$)\$\{([^}]*)\}", value, text))
    assert isinstance(loaded, dict)
    return loaded


def unit(name: str, instance: str = "", **environment: str) -> tuple[list[str], dict[str, str]]:
    """The command that a unit starts as ``instance``, with variables of its environment in place, and what it sets."""
    lines = (DEPLOY / "systemd" / name).read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", "["))]
    settings = {key: text for key, text in pairs if key != "Environment"}
    own = [part.split("=", 1) for key, text in pairs if key == "Environment" for part in text.split()]
    known = {**dict(own), **environment}
    command = settings["ExecStart"].replace("%i", instance).replace("%%", "%")
    return [re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], word) for word in command.split()], settings


def unit_environment() -> dict[str, str]:
    """The file that the units read their environment from."""
    lines = (DEPLOY / "systemd" / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def with_parts(path: Path, parts: dict[str, str]) -> str:
    """A file's text with each part in another's place, all of which must stand in it."""
    text = path.read_text()
    for part, instead in parts.items():
        assert part in text, f"{path} does not hold {part!r} any more"
        text = text.replace(part, instead)
    return text
