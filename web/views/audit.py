"""The audit trail of a dataset as a file."""

from django.http import HttpRequest
from django.views.decorators.http import require_safe

from audit.export import ExportFilter, moment_of
from audit.streaming import StreamedLines
from datasets.trail import export_trail
from web.parameters import TEXT, asked_with, require_fitting
from web.views.shared import dataset_at, person, signed_in


@asked_with(since=TEXT, until=TEXT)
@require_safe
@signed_in
def export(request: HttpRequest, project_slug: str, dataset_slug: str) -> StreamedLines:
    """Download a range of the dataset's trail as JSON lines; for owners and operators."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    require_fitting(request)
    wanted = ExportFilter(
        since=moment_of(request.GET.get("since", "")), until=moment_of(request.GET.get("until", ""))
    )
    return StreamedLines(
        export_trail(actor=person(request), dataset=dataset, wanted=wanted),
        headers={"Content-Disposition": f'attachment; filename="audit-{dataset.slug}.jsonl"'},
    )
