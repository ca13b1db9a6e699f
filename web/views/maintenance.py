"""Looking after a dataset's table: its condition, what would go, and asking for it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_http_methods

from changerequests.services import maintenance as service
from datasets.errors import DomainError
from datasets.maintenance import may_maintain
from datasets.rows import TableUnreachable
from web.view_models.maintenance import JOBS, condition_of, visits_of
from web.views.shared import dataset_at, dataset_page, person, posted, signed_in

VISITS = 20


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def maintenance(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """How worn the table is and what was done about it; owners and operators ask for more."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    allowed = may_maintain(person(request), dataset)
    problem, status = "", 200
    if request.method == "POST":
        try:
            service.request_maintenance(
                dataset_id=dataset.pk,
                actor=person(request),
                jobs=request.POST.getlist("jobs"),
                reason=posted(request, "reason"),
            )
        except DomainError as error:
            if error.code == "forbidden":
                raise
            problem, status = error.message, 409 if error.code == "dataset_busy" else 422
        else:
            messages.success(request, "A worker looks after the table once no merge is running.")
            return HttpResponseRedirect(request.path)
    try:
        condition = condition_of(dataset)
    except TableUnreachable:
        condition = None
    context = {
        "condition": condition,
        "jobs": JOBS,
        "chosen": request.POST.getlist("jobs"),
        "reason": posted(request, "reason"),
        "visits": visits_of(dataset, limit=VISITS),
        "may_maintain": allowed,
        "problem": problem,
    }
    return dataset_page(request, dataset, "maintenance", context, status=status, tab="settings")
