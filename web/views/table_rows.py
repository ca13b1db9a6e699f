"""Rows of a table as an address asks for them: in which order, which of them, from where on."""

from dataclasses import dataclass

from django.http import HttpRequest

from datasets import services
from datasets.models import Dataset
from datasets.rows import InvalidCursor, InvalidFilter, TablePage
from web.parameters import chosen
from web.view_models.datasets import types_of

ROWS_A_PAGE = 50


@dataclass(frozen=True)
class RowsAsked:
    """One page of rows, and what of the address it answers.

    ``problem`` says what is wrong with the value that was looked for; all rows are shown then.
    """

    page: TablePage
    order: str
    column: str
    value: str
    columns: list[str]
    problem: str = ""
    is_begun_again: bool = False


def rows_asked_for(request: HttpRequest, dataset: Dataset, version: int | None = None) -> RowsAsked:
    """The rows that ``sort``, ``column`` with ``value``, and ``after`` of the address name.

    What does not fit is left aside and told: the page is there for every address.
    """
    names = list(types_of(dataset))
    order = chosen(request, "sort", [*names, *(f"-{name}" for name in names)])
    column, value = chosen(request, "column", names), request.GET.get("value", "")
    filters = [(column, "=", value)] if column and "value" in request.GET else []
    after = request.GET.get("after") or None

    def page(filters: list[tuple[str, str, str]], after: str | None, order: str = order) -> TablePage:
        return services.preview(
            dataset=dataset,
            version=version,
            order_by=order if order in names else order.removeprefix("-") or None,
            descending=order.startswith("-") and order not in names,
            filters=filters,
            after=after,
            limit=ROWS_A_PAGE,
        )

    try:
        return RowsAsked(page(filters, after), order, column, value, names)
    except InvalidFilter as error:
        return RowsAsked(page([], None, ""), "", column, value, names, problem=error.message)
    except InvalidCursor:
        return RowsAsked(page(filters, None), order, column, value, names, is_begun_again=True)
