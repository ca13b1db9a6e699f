"""Rules of a suite as forms: what can be asked of the data, in words, and the JSON of a rule from what was typed.

A rule is one expectation. What forms do not ask for (conditions on rows, lists of patterns, distributions) is kept as
it is, and edited in JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms

from datasets.suites import ExpectationShape, SuiteProblem, suite_value
from web.forms import style

#: The rules that forms ask for, by what they are asked of, in the words of their choice.
OFFERED: Mapping[str, Mapping[str, str]] = {
    "Of each row": {
        "expect_column_values_to_not_be_null": "has a value",
        "expect_column_values_to_be_in_set": "is one of a list of values",
        "expect_column_values_to_not_be_in_set": "is none of a list of values",
        "expect_column_values_to_be_between": "lies between two bounds",
        "expect_column_value_lengths_to_be_between": "has so many characters",
        "expect_column_values_to_match_like_pattern": "is like a pattern with % and _",
        "expect_column_values_to_match_regex": "matches a regular expression",
        "expect_column_values_to_not_match_regex": "does not match a regular expression",
        "expect_column_values_to_match_strftime_format": "is a date written in a format",
        "expect_column_values_to_be_json_parseable": "is valid JSON",
        "expect_column_pair_values_a_to_be_greater_than_b": "is greater than another column",
        "expect_column_pair_values_to_be_equal": "equals another column",
    },
    "Of rows together": {
        "expect_column_values_to_be_unique": "is in no other row",
        "expect_compound_columns_to_be_unique": "is in no other row, several columns together",
        "expect_column_unique_value_count_to_be_between": "has so many different values",
    },
    "Of the whole table": {
        "expect_table_row_count_to_be_between": "has so many rows",
        "expect_column_min_to_be_between": "its smallest value lies between two bounds",
        "expect_column_max_to_be_between": "its largest value lies between two bounds",
        "expect_column_mean_to_be_between": "its mean lies between two bounds",
        "expect_column_median_to_be_between": "its median lies between two bounds",
        "expect_column_sum_to_be_between": "its sum lies between two bounds",
    },
}
_TITLES = {name: title for kinds in OFFERED.values() for name, title in kinds.items()}
#: What forms ask for of arguments, and what else they say about it.
_LABELS: Mapping[str, tuple[str, str]] = {
    "column": ("Column", ""),
    "column_A": ("Column", ""),
    "column_B": ("Other column", ""),
    "column_list": ("Columns", "Two or more."),
    "min_value": ("At least", "Empty for no lower bound."),
    "max_value": ("At most", "Empty for no upper bound."),
    "value_set": ("Values", "One a line."),
    "like_pattern": (
        "Pattern",
        "% stands for any characters, _ for one: FL-% is anything that begins with FL-.",
    ),
    "regex": ("Regular expression", "As Python reads them; ^ and $ stand for beginning and end."),
    "strftime_format": ("Format", "Such as %Y-%m-%d."),
    "or_equal": ("Equal is right, too", ""),
    "mostly": ("Percent of the rows that must satisfy it", "100 for every row."),
}
SEVERITIES = (
    ("critical", "stops a merge"),
    ("warning", "is shown as a warning"),
    ("info", "is noted"),
)
_ALL = Decimal(100)


@dataclass(frozen=True)
class _Asked:
    """How an argument of one kind is asked for, shown and read; ``type`` is that of the rule's column."""

    field: Callable[..., forms.Field]
    show: Callable[[Any], Any]
    read: Callable[[Any, str], Any]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _percent(value: Any) -> str:
    try:
        return f"{(Decimal(str(value)) * _ALL).normalize():f}"
    except InvalidOperation:
        return ""


def _share(value: Any, _: str) -> float | None:
    return None if value is None or value == _ALL else float(Decimal(str(value)) / _ALL)


def _number(value: Any, _: str) -> int | float | None:
    if value is None or value == "":
        return None
    number = Decimal(str(value))
    return int(number) if number == number.to_integral_value() else float(number)


def _lines(value: Any, type_name: str) -> list[Any] | None:
    return [suite_value(line, type_name) for line in str(value).splitlines() if line.strip()] or None


def _line(**more: Any) -> forms.CharField:
    return forms.CharField(strip=False, max_length=1000, **more)


def _area(**more: Any) -> forms.CharField:
    return forms.CharField(
        strip=False, widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}), **more
    )


_TYPED = _Asked(_line, _text, lambda value, type_name: suite_value(value, type_name) if value else None)
_PLAIN = _Asked(_line, _text, lambda value, _: value or None)
_COUNTED = _Asked(lambda **more: forms.IntegerField(min_value=0, **more), _text, _number)
#: By the kind of the argument (``merging.expectations``).
_ASKED: Mapping[str, _Asked] = {
    "bound": _TYPED,
    "values": _Asked(_area, lambda value: "\n".join(map(_text, value)), _lines),
    "text": _PLAIN,
    "regex": _PLAIN,
    "strftime": _PLAIN,
    "number": _Asked(lambda **more: forms.DecimalField(**more), _text, _number),
    "count": _COUNTED,
    "share": _Asked(
        lambda **more: forms.DecimalField(min_value=0, max_value=100, initial=_ALL, **more), _percent, _share
    ),
    "flag": _Asked(forms.BooleanField, bool, lambda value, _: True if value else None),
}


def title_of(type_name: str) -> str:
    """A rule that forms ask for, in the words of its choice; its type where they do not."""
    return _TITLES.get(type_name, type_name)


def choices(shapes: Mapping[str, ExpectationShape]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rules that can be asked of a table, in groups, for a select."""
    return [
        (
            group,
            [
                (name, title)
                for name, title in kinds.items()
                if name in shapes and (shapes[name].column_types or not shapes[name].judges_columns)
            ],
        )
        for group, kinds in OFFERED.items()
    ]


class RuleForm(forms.Form):
    """One rule: its columns, what must be true of them, and what happens where it is broken."""

    severity = forms.ChoiceField(label="A change that breaks it", choices=SEVERITIES)

    def __init__(
        self,
        shape: ExpectationShape,
        given: Mapping[str, Any],
        data: Any = None,
        *,
        number: int | None = None,
    ) -> None:
        super().__init__(data, prefix="rule", auto_id="%s", use_required_attribute=False)
        self.shape, self.given, self.number = shape, given, number
        kwargs = given.get("kwargs")
        self.kwargs: Mapping[str, Any] = kwargs if isinstance(kwargs, Mapping) else {}
        for name in self._asked():
            self.fields[name] = self._field(name)
        self.order_fields([*self._asked(), "severity"])
        severity = given.get("severity")
        self.fields["severity"].initial = severity if severity in dict(SEVERITIES) else "critical"
        style(self)

    @property
    def title(self) -> str:
        """What the rule asks, in words."""
        return title_of(self.shape.type)

    def _asked(self) -> list[str]:
        return [name for name in self.shape.arguments if name in _LABELS]

    def _field(self, name: str) -> forms.Field:
        argument, (label, hint) = self.shape.arguments[name], _LABELS[name]
        more: dict[str, Any] = {"label": label, "help_text": hint, "required": argument.required}
        if argument.kind in ("column", "columns"):
            names = [(one, one) for one in self.shape.column_types]
            kind = forms.ChoiceField if argument.kind == "column" else forms.MultipleChoiceField
            field: forms.Field = kind(choices=names, **more)
            if argument.kind == "columns":
                field.widget.attrs["size"] = min(max(len(names), 3), 8)
            field.initial = self.kwargs.get(name)
            return field
        asked = _ASKED[argument.kind]
        field = asked.field(**more)
        if self.kwargs.get(name) is not None:
            field.initial = asked.show(self.kwargs[name])
        return field

    def rule(self) -> dict[str, Any]:
        """The rule in JSON, once the form is valid; what is not asked for stays as it was given."""
        kwargs = dict(self.kwargs)
        for name in self._asked():
            argument, value = self.shape.arguments[name], self.cleaned_data[name]
            if argument.kind not in ("column", "columns"):
                value = _ASKED[argument.kind].read(value, self._column_type())
            kwargs.pop(name, None)
            if value is not None:
                kwargs[name] = value
        return {
            **self.given,
            "type": self.shape.type,
            "kwargs": kwargs,
            "severity": self.cleaned_data["severity"],
        }

    def _column_type(self) -> str:
        column = self.cleaned_data.get("column", "")
        return self.shape.column_types.get(column, "")

    def refuse(self, problems: Sequence[SuiteProblem]) -> None:
        """Say what is wrong with the rule at its fields."""
        for problem in problems:
            name = problem.place.rpartition(".kwargs.")[2].partition("[")[0]
            message = problem.message
            for argument in self._asked():
                message = message.replace(argument, f"“{_LABELS[argument][0]}”")
            self.add_error(name if name in self.fields else None, message)


def has_form(shapes: Mapping[str, ExpectationShape], rule: Any) -> bool:
    """Whether a form says all of a rule that it asks for: filled and read again, it is the same rule."""
    if not isinstance(rule, Mapping):
        return False
    kind, kwargs = rule.get("type"), rule.get("kwargs")
    if not isinstance(kind, str) or kind not in _TITLES or not isinstance(kwargs, Mapping):
        return False
    shape = shapes[kind]
    column = kwargs.get("column")
    type_name = shape.column_types.get(column, "") if isinstance(column, str) else ""
    return all(
        _comes_back(shape.arguments[name].kind, value, type_name)
        for name, value in kwargs.items()
        if name in shape.arguments and name in _LABELS and value is not None
    )


def _comes_back(kind: str, value: Any, type_name: str) -> bool:
    if kind in ("column", "columns"):
        return True
    asked = _ASKED[kind]
    try:
        shown = asked.show(value)
        read = asked.read(shown, type_name)
    except (TypeError, InvalidOperation):
        return False
    if kind != "values" and isinstance(shown, str) and len(shown.splitlines()) > 1:
        return False  # a field of one line would lose the others
    return bool(read == value) or (read is None and value in (False, 1))
