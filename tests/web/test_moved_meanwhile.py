"""What was looked at has moved: the words stay, what moved is said, and one click sends them for what there is now."""

from django.contrib.auth.models import User

from changerequests.models import ChangeRequest, MergeRun, Review
from changerequests.services import reviews, runs
from tests.factories import approve, stage_csv
from tests.web.conftest import SignedIn
from tests.web.test_typed import WORDS, form_in

OTHER_CONTENT = "tailnum,seats\nN1,1\nN2,2\nN4,4\n"


def test_a_review_of_an_earlier_revision_is_sent_for_the_new_one(
    change_request: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    olivia, page = signed_in(owner), f"/change-requests/{change_request.cr_id}/"
    action, fields = f"{page}review/", form_in(olivia.get(page), 'id="composer"')[1]
    stage_csv(change_request, OTHER_CONTENT, actor=author)

    moved = olivia.post(action, {**fields, "verdict": "request_changes", "body": WORDS})

    said = moved.content.decode()
    assert (moved.status_code, Review.objects.exists()) == (409, False)
    assert "revision 1 became revision 2 (Carl Castillo, " in said
    assert "3 updated and 0 deleted rows" in said
    assert "Approve revision 2 as it is now" in said
    again = form_in(moved, 'id="composer"')[1]
    assert again["body"] == WORDS
    assert olivia.post(action, {**again, "verdict": "request_changes"}).status_code == 302
    given = Review.objects.get()
    assert (given.revision.number, given.body) == (2, WORDS.strip())


def test_a_review_before_choices_that_were_not_seen_is_told_of_them(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    olivia, page = signed_in(owner), f"/change-requests/{change_request.cr_id}/"
    action, fields = f"{page}review/", form_in(olivia.get(page), 'id="composer"')[1]
    choice = {"key": {"tailnum": "N1"}, "key_digest": "k", "column": "seats", "choice": "current"}
    change_request.resolutions.create(**choice, inputs_digest="i", chosen_by=owner)
    ChangeRequest.objects.update(resolutions_digest="moved")

    moved = olivia.post(action, {**fields, "verdict": "approve", "body": WORDS})

    assert (moved.status_code, Review.objects.exists()) == (409, False)
    assert "Olivia Okafor chose values for conflicts since you opened the page" in moved.content.decode()
    again = form_in(moved, 'id="composer"')[1]
    assert olivia.post(action, {**again, "verdict": "approve"}).status_code == 302


def test_a_merge_of_an_earlier_revision_keeps_the_message(
    change_request: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    approve(change_request, owner)
    olivia, address = signed_in(owner), f"/change-requests/{change_request.cr_id}/merge/"
    _, fields = form_in(olivia.get(address), f'action="{address}"')
    stage_csv(change_request, OTHER_CONTENT, actor=author)
    approve(change_request, owner)

    moved = olivia.post(address, {**fields, "message": WORDS})

    assert (moved.status_code, MergeRun.objects.exists()) == (409, False)
    assert "revision 1 became revision 2 (Carl Castillo, " in moved.content.decode()
    _, again = form_in(moved, f'action="{address}"')
    assert again["message"] == WORDS
    assert olivia.post(address, again).status_code == 302
    assert MergeRun.objects.get().message == WORDS.strip()


def test_whoever_merges_second_is_told_who_was_first(
    change_request: ChangeRequest, owner: User, author: User, signed_in: SignedIn, deaf_worker: None
) -> None:
    approve(change_request, owner)
    runs.request_merge(change_request_id=change_request.pk, actor=owner, message="First")
    second = signed_in(author).post(
        f"/change-requests/{change_request.cr_id}/merge/", {"message": WORDS}, follow=True
    )
    said = second.content.decode()
    assert "Olivia Okafor had asked for this merge already" in said
    assert "In the second line" in said
    assert MergeRun.objects.get().message == "First"


def test_two_reviews_do_not_stand_in_each_others_way(change_request: ChangeRequest, owner: User) -> None:
    digest = change_request.revisions.get().digest
    for _ in range(2):
        reviews.review(
            change_request_id=change_request.pk,
            actor=owner,
            verdict="comment",
            body="Seen.",
            revision_digest=digest,
            resolutions_digest="",
        )
    assert Review.objects.count() == 2


def test_an_answer_for_expectations_keeps_its_reason(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    address = f"/change-requests/{change_request.cr_id}/checks/override/"
    moved = signed_in(owner).post(address, {"reason": WORDS, "suite_number": "9", "revision_digest": "d"})
    assert moved.status_code == 409
    assert "The expectations of planes were edited since you looked" in moved.content.decode()
    assert form_in(moved, 'id="typed"')[1]["reason"] == WORDS
