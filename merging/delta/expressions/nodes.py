"""The tree of an expression of Spark, and the error for what is no part of it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


class NotUnderstood(ValueError):
    """The text, or a part of it, is outside of what is read or proved; says what."""


@dataclass(frozen=True)
class Text:
    """A text in quotes, its escapes resolved."""

    value: str


@dataclass(frozen=True)
class Number:
    """A number with its suffix ("" where there is none): L, S, Y, D, F, BD."""

    digits: str
    suffix: str = ""

    @property
    def value(self) -> Decimal:
        """The exact value."""
        return Decimal(self.digits)


@dataclass(frozen=True)
class Word:
    """NULL, TRUE or FALSE."""

    name: str


@dataclass(frozen=True)
class TypedText:
    """A literal with its type in front: DATE '2024-01-31'."""

    type: str
    text: str


@dataclass(frozen=True)
class Name:
    """A column, or a field within one."""

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A function by its name in lower case, or an operator by its sign or words: `+`, `and`, `is null`."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Cast:
    """CAST(operand AS type), the type in lower case with its parameters."""

    operand: Node
    type: str
    parameters: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """CASE, with an operand where it compares; the branches, and what ELSE says."""

    operand: Node | None
    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None


Node = Text | Number | Word | TypedText | Name | Call | Cast | Case
