"""Edits of rows that are not proposed yet: what is to be done, and the tray as it stands."""

from typing import Any

from rest_framework import serializers

from api.serializers.shared import AnyValue, StrictSerializer
from changerequests.services.edits import (
    MOST_ROWS,
    AddRow,
    Change,
    DeleteRow,
    KeepRow,
    RestoreRow,
    RowName,
    SetCells,
)
from changerequests.services.replacing import LONGEST, MOST_COLUMNS

#: What may be done with a row, as members of an entry; each stands alone.
_DEEDS = ("set", "add", "delete", "restore", "keep")


def _cells(**options: Any) -> serializers.DictField:
    return serializers.DictField(child=AnyValue(allow_null=True), **options)


class RowEditSerializer(StrictSerializer):
    """One thing to do with one row: exactly one of `set`, `add`, `delete`, `restore` and `keep`."""

    key = _cells(required=False, help_text="The key of a row of the table.")
    row = serializers.CharField(
        required=False,
        max_length=64,
        help_text="Instead of the key: the `name` of an edited row. With `add` what the new row is to be called: "
        "`new-` and 32 hexadecimal digits. A call that is repeated because its answer was lost then adds it once.",
    )
    set = _cells(required=False, help_text="New values of cells; texts are read as the column's type.")
    seen = _cells(required=False, help_text="What the caller saw in those cells, to be told where it moved.")
    add = _cells(required=False, help_text="The cells of a new row.")
    delete = serializers.BooleanField(required=False, help_text="Whether the row shall go.")
    restore = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Columns whose edits are taken back; an empty list for the whole row.",
    )
    keep = serializers.BooleanField(
        required=False, help_text="Keep these edits although somebody else changed the row meanwhile."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in _DEEDS if name in attrs]
        if len(given) != 1:
            raise serializers.ValidationError({"set": f"Give exactly one of {', '.join(_DEEDS)}."})
        if given == ["add"]:
            if "key" in attrs:
                raise serializers.ValidationError({"add": "A new row has its key among its cells."})
        elif ("key" in attrs) == ("row" in attrs):
            raise serializers.ValidationError({"key": "Name the row by its key, or by row."})
        return attrs


class EditRowsOfTableSerializer(StrictSerializer):
    """What is to be done, as one step that can be undone."""

    changes = serializers.ListField(child=RowEditSerializer(), min_length=1, max_length=2 * MOST_ROWS)
    version = serializers.IntegerField(
        required=False,
        min_value=0,
        help_text="The table version that the caller looked at; the newest unless given.",
    )

    @staticmethod
    def changes_in(wanted: dict[str, Any]) -> list[Change]:
        """What the service is asked for."""
        return [_change(one) for one in wanted["changes"]]


def _change(one: dict[str, Any]) -> Change:
    if "add" in one:
        return AddRow(one["add"], one.get("row", ""))
    row = RowName(one.get("key"), one.get("row", ""))
    if "set" in one:
        return SetCells(row, one["set"], one.get("seen", {}))
    if "restore" in one:
        return RestoreRow(row, tuple(one["restore"]))
    return KeepRow(row) if "keep" in one else DeleteRow(row)


class EditedCellSerializer(serializers.Serializer):
    """One edited cell."""

    column = serializers.CharField()
    value = AnyValue(
        allow_null=True, help_text="As edited; as the text that was typed where it does not fit."
    )
    seen = AnyValue(allow_null=True, help_text="What the table had when it was edited.")
    current = AnyValue(allow_null=True, help_text="What the table has now.")
    moved = serializers.BooleanField(help_text="Whether somebody else changed the cell since.")
    problem = serializers.CharField(help_text="Why it does not fit; empty where it does.")


class EditedRowSerializer(serializers.Serializer):
    """One edited row."""

    name = serializers.CharField()
    operation = serializers.ChoiceField([("insert", "insert"), ("update", "update"), ("delete", "delete")])
    key = _cells()
    cells = EditedCellSerializer(many=True)
    problem = serializers.CharField(help_text="What is wrong with the row itself; empty where nothing is.")
    gone = serializers.BooleanField(help_text="Whether somebody else deleted the row since.")
    current = _cells(allow_null=True, help_text="The row as the table has it now; null where it has none.")


class TrayCountsSerializer(serializers.Serializer):
    """How much there is."""

    changes = serializers.IntegerField(
        help_text="Edited cells; a row that is added or deleted counts as one."
    )
    rows = serializers.IntegerField()
    undo = serializers.BooleanField(help_text="Whether a step can be undone.")
    redo = serializers.BooleanField(help_text="Whether a step can be done again.")


class TraySerializer(serializers.Serializer):
    """Edits of the caller that are not proposed yet, against the table as it is now."""

    version = serializers.IntegerField(help_text="The version of the table that they are compared with.")
    counts = TrayCountsSerializer()
    rows = EditedRowSerializer(many=True)
    problems = serializers.IntegerField(help_text="How many things are wrong with these rows.")
    moved = serializers.IntegerField(help_text="How many of these rows somebody else changed meanwhile.")
    kept_until = serializers.DateTimeField(
        allow_null=True, help_text="When they are removed unless they are touched; null where there are none."
    )
    upload = serializers.IntegerField(
        allow_null=True, help_text="The upload that proposes them just now: until it ends they stand still."
    )
    failure = serializers.CharField(help_text="Why the last attempt to propose them was in vain; else empty.")


class OverwrittenSerializer(serializers.Serializer):
    """A cell that held something else than the caller saw; undoing brings it back."""

    row = serializers.CharField(help_text="The name of the edited row.")
    column = serializers.CharField()
    before = AnyValue(allow_null=True)


class AppliedSerializer(TraySerializer):
    """The rows that were touched, as they stand now; a row that is not edited any more is among `restored` alone."""

    added = serializers.ListField(child=serializers.CharField(), help_text="Names of new rows, in order.")
    restored = serializers.ListField(
        child=serializers.CharField(), help_text="Names of rows that are not edited any more."
    )
    overwritten = OverwrittenSerializer(many=True)


class ProposeEditsSerializer(StrictSerializer):
    """The change request that the edits become."""

    title = serializers.CharField(max_length=200)
    description = serializers.CharField(allow_blank=True, default="")
    submit = serializers.BooleanField(default=False, help_text="Ask for review once they are staged.")


class ReplaceSerializer(StrictSerializer):
    """What is looked for, and what takes its place."""

    columns = serializers.ListField(child=serializers.CharField(), min_length=1, max_length=MOST_COLUMNS)
    find = serializers.CharField(max_length=LONGEST, trim_whitespace=False)
    replace = serializers.CharField(
        max_length=LONGEST,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
        help_text="Null for NULL, which takes the place of whole cells only.",
    )
    match_case = serializers.BooleanField(default=False)
    whole_cell = serializers.BooleanField(default=False)
    filter = serializers.ListField(
        child=serializers.CharField(), default=list, help_text="`column:operator:value`, as for rows."
    )
    counted = serializers.IntegerField(
        required=False,
        min_value=0,
        help_text="How many cells a look counted: nothing is replaced where it is not that many any more.",
    )
    look = serializers.BooleanField(default=False, help_text="Only count and show, and replace nothing.")


class FoundCellSerializer(serializers.Serializer):
    """A cell that would be replaced."""

    key = _cells(allow_null=True, help_text="Of the row; null of an edited row, which has a name.")
    row = serializers.CharField()
    column = serializers.CharField()
    before = AnyValue(allow_null=True)
    after = AnyValue(allow_null=True)


class ReplacedSerializer(serializers.Serializer):
    """What was found; `tray` where it was replaced."""

    cells = serializers.IntegerField()
    rows = serializers.IntegerField()
    shown = FoundCellSerializer(many=True, help_text="The first of them.")
    tray = AppliedSerializer(allow_null=True)
