"""The demo data: what its pages have to show, exactly."""

import shutil
import tempfile
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings

import merging
from audit.models import Event
from audit.services import verify_chains
from changerequests import selectors
from changerequests.facts import expectation_check_to_show, facts_of
from changerequests.models import ChangeRequest
from changerequests.policies import blockers
from changerequests.services.expectations import failing_rows
from changerequests.states import Action, Status
from datasets.models import Dataset
from datasets.operators import is_operator
from datasets.roles import Role, role_on
from datasets.rows import json_value, kept
from datasets.suites import active_suite
from demo.management.commands import seed_demo
from demo.users import DEMO_PASSWORD
from tests.kept import content_folder


class DemoDataTests(TestCase):
    """All tests look at one seeding, which takes some seconds."""

    root: Path
    said: str

    @classmethod
    def setUpTestData(cls) -> None:
        cls.root = Path(tempfile.mkdtemp(prefix="headgate-seed-"))
        cls.addClassCleanup(shutil.rmtree, cls.root)
        cls.said = cls.seed()

    @classmethod
    def seed(cls) -> str:
        output = StringIO()
        with override_settings(DELTA_DATA_ROOT=cls.root):
            call_command("seed_demo", stdout=output)
        return output.getvalue()

    def request_with(self, words: str) -> ChangeRequest:
        requests = ChangeRequest.objects.select_related("dataset__meta", "dataset__project", "plan_check")
        return requests.get(title__contains=words)

    def gates(self, words: str, username: str = "olivia") -> list[str]:
        """The codes of what stands between somebody and the merge."""
        actor = User.objects.get(username=username)
        return [
            blocker.code
            for blocker in blockers(facts_of(self.request_with(words), actor), Action.REQUEST_MERGE)
        ]

    def test_people_have_their_roles_and_the_demo_password(self) -> None:
        project = Dataset.objects.get(slug="flights").project
        roles = {user.username: role_on(user, project) for user in User.objects.all()}
        assert roles == {
            "olivia": Role.OWNER,
            "carl": Role.CONTRIBUTOR,
            "vera": Role.VIEWER,
            "adam": Role.VIEWER,
        }
        assert [user.username for user in User.objects.all() if is_operator(user)] == ["adam"]
        assert not User.objects.filter(is_superuser=True).exists()
        assert all(user.check_password(DEMO_PASSWORD) for user in User.objects.all())

    def test_four_datasets_stand_on_real_tables(self) -> None:
        assert self.said == "4 users, 4 datasets, 13 change requests.\n"
        metas = {
            dataset.slug: (dataset.meta.row_count, dataset.meta.delta_version, dataset.meta.strategy)
            for dataset in Dataset.objects.select_related("meta")
        }
        assert metas == {
            "flights": (336_776, 1, "merge-on-read"),
            "planes": (3322, 0, "merge-on-read"),
            "airports": (1458, 0, "merge-on-read"),
            "weather": (26_115, 0, "merge-on-read"),
        }
        columns = {
            column.name: column.type
            for column in merging.inspect_table(Dataset.objects.get(slug="flights").table_uri).columns
        }
        assert (columns["time_hour"], columns["air_time"]) == ("timestamp", "integer")

    def test_every_state_of_a_request_is_there(self) -> None:
        statuses = list(ChangeRequest.objects.order_by("pk").values_list("status", flat=True))
        assert {status: statuses.count(status) for status in set(statuses)} == {
            Status.MERGED: 1,
            Status.CLOSED: 1,
            Status.DRAFT: 1,
            Status.PENDING: 10,
        }

    def test_the_merged_request_changed_29_cells_of_the_table(self) -> None:
        merged = self.request_with("midnight as 0")
        assert (merged.status, merged.merged_version) == (Status.MERGED, 1)
        assert merged.merge_record is not None
        assert merged.merge_record["result"]["cells_updated"] == {"dep_time": 29}
        table = merging.preview(
            merged.dataset.table_uri,
            primary_keys=tuple(merged.dataset.primary_keys),
            filters=(("dep_time", "=", "0"),),
            limit=100,
        )
        assert len(table.rows) == 29

    def test_each_open_request_shows_what_it_is_for(self) -> None:
        conflicting = self.request_with("2400 becomes 2359").plan_check
        assert (conflicting.conflicts, conflicting.cells_updated) == (29, {"arr_time": 150})
        assert self.gates("2400 becomes 2359") == ["conflicts_unresolved", "approvals_missing"]

        ready = self.request_with("missing tail numbers").plan_check
        assert (ready.cells_updated, ready.conflicts) == ({"tailnum": 50}, 0)
        assert self.gates("missing tail numbers", "carl") == []

        deleting = self.request_with("never left").plan_check
        assert deleting.rows_deleted == 7211
        assert self.gates("never left") == ["delete_guard"]

        assert self.request_with("four Caribbean airports").plan_check.rows_added == 4
        assert self.gates("four Caribbean airports") == []
        assert self.gates("A321") == ["changes_requested", "approvals_missing"]
        assert self.request_with("One name for each").plan_check.cells_updated == {"manufacturer": 517}
        widening = self.request_with("age of each plane").plan_check
        assert (widening.conflicts, widening.schema_changes) == (
            0,
            [{"kind": "add_column", "column": "age_in_2013", "type": "integer"}],
        )

    def test_one_request_breaks_a_rule_of_the_data(self) -> None:
        request = self.request_with("air time of Virgin America")
        revision = selectors.current_revision(request)
        assert revision is not None
        assert revision.rows == 483
        with override_settings(DELTA_DATA_ROOT=self.root):
            rows = merging.open_staged(str(content_folder(revision))).page(limit=500).items
        negative = [json_value(row.key) for row in rows if (row.proposed or {})["air_time"] < 0]
        assert len(negative) == 41
        assert kept(request.comments.get(column="air_time").row_key) in negative

    def test_the_request_that_breaks_a_rule_is_told_which_rows(self) -> None:
        request = self.request_with("air time of Virgin America")
        assert self.gates("air time of Virgin America") == ["expectations_failed", "approvals_missing"]
        [failing] = facts_of(request).unanswered_failures
        assert failing["message"] == "41 rows do not satisfy: Each air_time is between 20 and 720."
        check = facts_of(request).expectation_check
        assert check is not None
        row = failing_rows(check, failing["number"]).rows[0]
        assert (row["key"]["flight"], row["values"], row["before"]) == (
            415,
            {"air_time": -1266},
            {"air_time": 309},
        )

    def test_each_dataset_has_expectations_that_its_table_satisfies(self) -> None:
        known = {"airports": {"tzone": 3}, "weather": {"wind_speed": 1}}
        counts = {}
        for dataset in Dataset.objects.all():
            suite = active_suite(dataset)
            assert suite is not None
            counts[dataset.slug] = suite.expectation_count
            report = merging.check_table(dataset.table_uri, suite.document, dataset.primary_keys)
            assert {
                one.columns[0]: one.failing_rows_total for one in report.results if one.state != "passed"
            } == known.get(dataset.slug, {})
        assert counts == {"flights": 14, "planes": 7, "airports": 7, "weather": 6}

    def test_what_was_merged_was_judged(self) -> None:
        check = expectation_check_to_show(facts_of(self.request_with("midnight as 0")))
        assert check is not None
        assert (check.passed, check.failing, check.suite_version.number) == (14, [], 1)

    def test_the_trail_is_whole_and_names_who_decided(self) -> None:
        assert list(verify_chains()) == []
        merged = self.request_with("midnight as 0")
        event = Event.objects.get(subject_id=merged.cr_id, action="change_request.merged")
        assert (event.actor, event.data["approved_by"]) == ("olivia", ["carl"])

    def test_a_second_seeding_changes_nothing(self) -> None:
        events = Event.objects.count()
        assert self.seed() == "The demo data is there already.\n"
        assert Event.objects.count() == events

    def test_a_seeding_that_was_cut_short_is_taken_up(self) -> None:
        requests = ChangeRequest.objects.count()
        with patch.object(seed_demo, "SEEDED", "demo.seeded_to_the_end"):
            assert self.seed() == self.said
        assert ChangeRequest.objects.count() == requests
        assert self.request_with("midnight as 0").merged_version == 1


@pytest.mark.django_db
@override_settings(SETTINGS_MODULE="config.settings.production")
def test_production_never_gets_the_demo_accounts() -> None:
    with pytest.raises(CommandError, match="production never gets them"):
        call_command("seed_demo")
    assert not User.objects.exists()
