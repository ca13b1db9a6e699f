"""Fills the installation that the environment names for ``benchmarks.load``, and writes down who its people are.

``python -m benchmarks.load_fill FILE '{"requests": 100, "people": 60, "events": 500, "datasets": 10, "active": 50}'``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import django


def fill(sizes: dict[str, int]) -> dict[str, Any]:
    """A crowd of which ``active`` people own a dataset each; returns them with their sessions, tokens and addresses."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User

    from accounts.sessions import SessionStore
    from accounts.tokens import make_token
    from benchmarks import crowd_data
    from changerequests.models import ChangeRequest
    from changerequests.states import Status
    from datasets.models import Dataset
    from datasets.roles import Role, set_role

    active = sizes.pop("active")
    crowd = crowd_data.fill(crowd_data.Sizes(**sizes))
    crowd_data.merge_two(crowd)
    datasets = list(Dataset.objects.select_related("project").order_by("pk"))
    told = []
    for number, person in enumerate(
        User.objects.filter(username__startswith="person-").order_by("pk")[:active]
    ):
        dataset = datasets[(number + 1) % len(datasets)]
        set_role(member=person, target=dataset, role=Role.OWNER, actor=None)
        session = SessionStore()
        session[SESSION_KEY] = str(person.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = person.get_session_auth_hash()
        session.save()
        _, key = make_token(owner=person, name="load")
        told.append(
            {
                "session": session.session_key,
                "token": key,
                "dataset": f"{dataset.project.slug}/{dataset.slug}",
                "first_row": 20 * number,
            }
        )
    crowd_data.count_rows()
    pending = ChangeRequest.objects.filter(dataset=crowd.busy, status=Status.PENDING).order_by("-pk")
    merged = ChangeRequest.objects.filter(dataset=crowd.busy, status=Status.MERGED).order_by("-pk")
    return {
        "people": told,
        "busy": f"{crowd.busy.project.slug}/{crowd.busy.slug}",
        "long": crowd.long.cr_id,
        "pending": [one.cr_id for one in pending[:50]],
        "merged": [one.cr_id for one in merged[:2]],
    }


if __name__ == "__main__":
    django.setup()
    found = fill(json.loads(sys.argv[2]))
    Path(sys.argv[1]).write_text(json.dumps(found))
