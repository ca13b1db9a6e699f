"""The page of an upload: progress while it is read, then the request, or the form as it was with what was wrong."""

import html
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from changerequests.models import ChangeRequest, Upload
from changerequests.services import staging
from changerequests.states import UploadPhase, UploadState, UploadStatus
from datasets.models import Dataset
from tests.web.conftest import SignedIn
from web.views import uploads as pages

FRAGMENT = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PATIENCE_SECONDS", 0.0)


def proposed(signed_in: SignedIn, author: User, dataset: Dataset, **fields: Any) -> Any:
    address = reverse("new_change_request", args=[dataset.project.slug, dataset.slug])
    given = {"title": "Fewer seats", "description": "As counted.", "merge_schema": "on", **fields}
    return signed_in(author).post(address, given)


def test_a_slow_upload_leads_to_its_progress(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    file = SimpleUploadedFile("rows.csv", b"tailnum,seats\nN1,1\n")
    answer = proposed(signed_in, author, dataset, file=file)
    upload = Upload.objects.latest("pk")
    address = reverse("received_upload", args=[upload.pk])
    assert (answer.status_code, answer["Location"]) == (302, address)

    page = signed_in(author).get(address).content.decode()
    assert "Reading rows.csv for planes" in page
    assert '<meta http-equiv="refresh"' in page  # without JavaScript
    assert f'hx-get="{address}"' in page

    Upload.objects.filter(pk=upload.pk).update(
        status=UploadStatus.RUNNING, phase=UploadPhase.READING, rows_read=12_345
    )
    fragment = signed_in(author).get(address, headers=FRAGMENT).content.decode()
    assert "12,345 rows so far." in fragment
    assert "<html" not in fragment


def test_what_was_staged_meanwhile_leads_to_the_request(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    proposed(signed_in, author, dataset, pasted="tailnum,seats\nN1,1\n")
    upload = Upload.objects.latest("pk")
    staging.stage_upload(upload_id=upload.pk, worker="worker")
    address = reverse("received_upload", args=[upload.pk])

    fragment = signed_in(author).get(address, headers=FRAGMENT)
    assert (fragment.content, fragment["HX-Redirect"]) == (b"", address)
    made = ChangeRequest.objects.get()
    page = signed_in(author).get(address, follow=True)
    assert page.redirect_chain == [(reverse("change_request", args=[made.cr_id]), 302)]
    assert "Uploaded as revision 1: 1 row change." in page.content.decode()


def test_what_was_refused_meanwhile_shows_the_form_as_it_was(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    typed = {"pasted": "tailnum,seats\nN1,many <b>\n", "null_token": "-", "column_types": "price: double"}
    proposed(signed_in, author, dataset, **typed)
    upload = Upload.objects.latest("pk")
    staging.stage_upload(upload_id=upload.pk, worker="worker")

    answer = signed_in(author).get(reverse("received_upload", args=[upload.pk]))

    page = answer.content.decode()
    assert answer.status_code == 200
    assert "Not staged: 1 problem in the rows" in page
    shown = answer.context["form"].initial
    assert shown == {
        "title": "Fewer seats", "description": "As counted.", "merge_schema": True, **typed,
    }  # fmt: skip
    assert html.escape(typed["pasted"]) in page
    assert f'action="{reverse("new_change_request", args=[dataset.project.slug, dataset.slug])}"' in page
    assert not ChangeRequest.objects.exists()


def test_what_failed_meanwhile_is_told_on_the_form(
    deaf_staging: None, signed_in: SignedIn, change_request: ChangeRequest
) -> None:
    author = change_request.author
    address = reverse("upload", args=[change_request.cr_id])
    answer = signed_in(author).post(address, {"pasted": "tailnum,seats\nN1,1\n"})
    upload = Upload.objects.latest("pk")
    assert answer["Location"] == reverse("received_upload", args=[upload.pk])
    Upload.objects.filter(pk=upload.pk).update(
        status=UploadStatus.FAILED, error_code="reader_died", error_message="The process died of it."
    )
    page = signed_in(author).get(answer["Location"])
    assert "The process died of it." in page.content.decode()
    assert page.context["form"].initial["pasted"] == "tailnum,seats\nN1,1\n"


def test_pages_lead_back_to_what_was_not_staged(
    deaf_staging: None, signed_in: SignedIn, change_request: ChangeRequest, owner: User, dataset: Dataset
) -> None:
    author = change_request.author
    page = reverse("change_request", args=[change_request.cr_id])
    signed_in(author).post(
        reverse("upload", args=[change_request.cr_id]), {"pasted": "tailnum,seats\nN1,x\n"}
    )
    upload = Upload.objects.latest("pk")
    link = reverse("received_upload", args=[upload.pk])
    shown = signed_in(author).get(page).content.decode()
    assert "Your upload of pasted rows is being read." in shown
    staging.stage_upload(upload_id=upload.pk, worker="worker")
    shown = signed_in(author).get(page).content.decode()
    assert "Your last upload, pasted rows, was refused." in shown
    assert link in shown
    assert link not in signed_in(owner).get(page).content.decode()

    proposed(signed_in, author, dataset, pasted="tailnum,seats\nN1,1\n")
    new = reverse("new_change_request", args=[dataset.project.slug, dataset.slug])
    assert reverse("received_upload", args=[Upload.objects.latest("pk").pk]) in (
        signed_in(author).get(new).content.decode()
    )


def test_a_failure_within_the_wait_stands_at_its_field(
    signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    answer = proposed(signed_in, author, dataset, pasted="tailnum,seats\nN1,149\n")
    assert answer.status_code == 422
    assert "There is nothing to change" in answer.context["form"].errors["pasted"][0]


def test_an_upload_is_cancelled_and_the_form_is_there_again(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    file = SimpleUploadedFile("rows.csv", b"tailnum,seats\nN1,1\n")
    proposed(signed_in, author, dataset, file=file)
    upload = Upload.objects.latest("pk")
    page = signed_in(author).post(reverse("cancel_upload", args=[upload.pk]), follow=True)
    upload.refresh_from_db()
    assert upload.state == UploadState.CANCELLED
    assert "Cancelled by carl." in page.content.decode()
    assert page.context["form"].initial["title"] == "Fewer seats"


def test_others_do_not_see_the_page(
    deaf_staging: None, signed_in: SignedIn, author: User, viewer: User, stranger: User, dataset: Dataset
) -> None:
    proposed(signed_in, author, dataset, pasted="tailnum,seats\nN1,1\n")
    upload = Upload.objects.latest("pk")
    for other in (viewer, stranger):
        assert signed_in(other).get(reverse("received_upload", args=[upload.pk])).status_code == 404
        assert signed_in(other).post(reverse("cancel_upload", args=[upload.pk])).status_code == 404
    upload.refresh_from_db()
    assert upload.state == UploadState.RECEIVED
