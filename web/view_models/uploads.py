"""An upload as its progress panel shows it."""

from dataclasses import dataclass

from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from changerequests.models import Upload
from changerequests.states import UploadState
from web.view_models.runs import Step
from web.wording import counted, name_of, store_wait


@dataclass(frozen=True)
class UploadPanel:
    """Everything that the progress panel says."""

    title: str
    steps: tuple[Step, ...]
    who: str
    back_url: str
    back_text: str


def upload_panel(upload: Upload) -> UploadPanel:
    """The panel of an upload that has not ended."""
    change_request, dataset = upload.change_request, upload.dataset
    if change_request is not None and not upload.made_request:  # a draft of its own may go with it
        subject, back = change_request.cr_id, reverse("change_request", args=[change_request.cr_id])
    else:
        subject, back = dataset.name, reverse("dataset", args=[dataset.project.slug, dataset.slug])
    return UploadPanel(
        title=f"Reading {upload.file_name} for {subject}",
        steps=_steps(upload),
        who=name_of(upload.uploaded_by),
        back_url=back,
        back_text=f"Back to {subject}",
    )


def _steps(upload: Upload) -> tuple[Step, ...]:
    titles = (
        (
            UploadState.RECEIVED,
            "Received",
            store_wait(upload) or f"{filesizeformat(upload.size_bytes)}. A worker reads it next.",
        ),
        (UploadState.READING, "Reading", f"{counted(upload.rows_read, 'row')} so far."),
        (
            UploadState.CHECKING,
            "Checking",
            f"{counted(upload.rows_read, 'row')} are compared with the table.",
        ),
    )
    states = [state for state, _, _ in titles]
    at = states.index(upload.state)
    return tuple(
        Step(
            title, note if number == at else "", "done" if number < at else "now" if number == at else "next"
        )
        for number, (_, title, note) in enumerate(titles)
    )
