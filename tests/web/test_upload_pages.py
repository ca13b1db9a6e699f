"""The page of an upload: progress while it is read, then the request, or what was wrong with it."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from changerequests.models import ChangeRequest, Upload
from changerequests.services import previews, staging, uploads
from changerequests.states import UploadKind, UploadPhase, UploadState, UploadStatus
from datasets.models import Dataset
from tests.web.conftest import SignedIn
from web.views import uploads as pages

FRAGMENT = {"HX-Request": "true"}
SQL = "SELECT tailnum, 1 AS seats FROM dataset WHERE tailnum = 'N1'"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("tailnum,seats\nN1,1\n")
    return path


def received(author: User, dataset: Dataset, content: Any) -> Upload:
    return uploads.receive_draft(dataset=dataset, author=author, title="Fewer seats", content=content)


def test_a_slow_upload_leads_to_its_progress(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    statement = uploads.NamedSource(UploadKind.SQL, SQL)
    preview = previews.look(dataset=dataset, actor=author, content=statement)
    previews.look_at(preview_id=preview.pk, worker="worker")
    answer = signed_in(author).post(
        reverse("propose_preview", args=[preview.pk]), {"title": "Fewer seats", "then": "draft"}
    )
    upload = Upload.objects.latest("pk")
    address = reverse("received_upload", args=[upload.pk])
    assert (answer.status_code, answer["Location"]) == (302, address)

    page = signed_in(author).get(address).content.decode()
    assert '<meta http-equiv="refresh"' in page  # without JavaScript
    assert f'hx-get="{address}"' in page

    Upload.objects.filter(pk=upload.pk).update(
        status=UploadStatus.RUNNING, phase=UploadPhase.READING, rows_read=12_345
    )
    fragment = signed_in(author).get(address, headers=FRAGMENT).content.decode()
    assert "12,345 rows so far." in fragment
    assert "<html" not in fragment


def test_what_was_staged_meanwhile_leads_to_the_request(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset, rows: Path
) -> None:
    upload = received(author, dataset, uploads.ReceivedFile(rows))
    address = reverse("received_upload", args=[upload.pk])
    assert "Reading rows.csv for planes" in signed_in(author).get(address).content.decode()
    staging.stage_upload(upload_id=upload.pk, worker="worker")

    fragment = signed_in(author).get(address, headers=FRAGMENT)
    assert (fragment.content, fragment["HX-Redirect"]) == (b"", address)
    made = ChangeRequest.objects.get()
    page = signed_in(author).get(address, follow=True)
    assert page.redirect_chain == [(reverse("change_request", args=[made.cr_id]), 302)]
    assert "Uploaded as revision 1: 1 row change." in page.content.decode()


def test_what_was_refused_meanwhile_is_told_by_line_and_column(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset, rows: Path
) -> None:
    rows.write_text("tailnum,seats\nN1,many <b>\n")
    upload = received(author, dataset, uploads.ReceivedFile(rows))
    staging.stage_upload(upload_id=upload.pk, worker="worker")
    page = signed_in(author).get(reverse("received_upload", args=[upload.pk]))
    words = page.content.decode()
    assert page.status_code == 200
    assert "Not staged: 1 problem in the rows" in words
    assert reverse("new_change_request", args=[dataset.project.slug, dataset.slug]) in words
    assert not ChangeRequest.objects.exists()


def test_what_was_looked_at_and_then_fails_leads_back_to_the_look(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    preview = previews.look(dataset=dataset, actor=author, content=uploads.NamedSource(UploadKind.SQL, SQL))
    previews.look_at(preview_id=preview.pk, worker="worker")
    preview.refresh_from_db()
    upload = received(author, dataset, preview)
    Upload.objects.filter(pk=upload.pk).update(
        status=UploadStatus.FAILED, error_code="reader_died", error_message="The process died of it."
    )
    page = signed_in(author).get(reverse("received_upload", args=[upload.pk]), follow=True)
    assert page.redirect_chain == [(reverse("preview", args=[preview.pk]), 302)]
    assert "Not proposed: The process died of it." in page.content.decode()


def test_pages_lead_back_to_what_was_not_staged(
    deaf_staging: None, signed_in: SignedIn, change_request: ChangeRequest, owner: User, rows: Path
) -> None:
    author, dataset = change_request.author, change_request.dataset
    page = reverse("change_request", args=[change_request.cr_id])
    rows.write_text("tailnum,seats\nN1,x\n")
    upload = uploads.receive(
        change_request_id=change_request.pk, actor=author, content=uploads.ReceivedFile(rows)
    )
    link = reverse("received_upload", args=[upload.pk])
    assert "Your upload of rows.csv is being read." in signed_in(author).get(page).content.decode()
    staging.stage_upload(upload_id=upload.pk, worker="worker")
    shown = signed_in(author).get(page).content.decode()
    assert "Your last upload, rows.csv, was refused." in shown
    assert link in shown
    assert link not in signed_in(owner).get(page).content.decode()

    of_new = received(author, dataset, uploads.ReceivedFile(rows))
    new = reverse("new_change_request", args=[dataset.project.slug, dataset.slug])
    assert reverse("received_upload", args=[of_new.pk]) in signed_in(author).get(new).content.decode()


def test_an_upload_is_cancelled(
    deaf_staging: None, signed_in: SignedIn, author: User, dataset: Dataset, rows: Path
) -> None:
    upload = received(author, dataset, uploads.ReceivedFile(rows))
    page = signed_in(author).post(reverse("cancel_upload", args=[upload.pk]), follow=True)
    upload.refresh_from_db()
    assert upload.state == UploadState.CANCELLED
    assert "Cancelled by carl." in page.content.decode()


def test_others_do_not_see_the_page(
    deaf_staging: None,
    signed_in: SignedIn,
    author: User,
    viewer: User,
    stranger: User,
    dataset: Dataset,
    rows: Path,
) -> None:
    upload = received(author, dataset, uploads.ReceivedFile(rows))
    for other in (viewer, stranger):
        assert signed_in(other).get(reverse("received_upload", args=[upload.pk])).status_code == 404
        assert signed_in(other).post(reverse("cancel_upload", args=[upload.pk])).status_code == 404
    upload.refresh_from_db()
    assert upload.state == UploadState.RECEIVED
