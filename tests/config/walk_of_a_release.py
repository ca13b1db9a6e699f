"""What people do with Headgate, in one walk: propose, look, merge. Run by a release's own code, whichever it is.

``python -c`` gets this text, so that the release's own packages are imported; it says as JSON what it saw.
"""

import json
import sys
import tempfile
from pathlib import Path

import django


def walk() -> dict[str, object]:
    """Make a dataset and two requests, merge one, and look at every page of both."""
    from django.conf import settings
    from django.test import Client

    import config
    from changerequests.models import ChangeRequest
    from tests import factories

    settings.DELTA_DATA_ROOT = Path(tempfile.mkdtemp(prefix="headgate-walk-"))
    dataset = factories.DatasetFactory.create()
    from datasets.roles import Role

    owner = factories.person_with(Role.OWNER, dataset)
    merged, pending = (factories.ChangeRequestFactory.create(dataset=dataset, author=owner) for _ in range(2))
    factories.merge(merged, owner)
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(owner)
    addresses = ["/", "/datasets/", "/inbox/", f"/datasets/{dataset.project.slug}/{dataset.slug}/"]
    for one in (merged, pending):
        addresses += [f"/change-requests/{one.cr_id}/", f"/api/v1/change_requests/{one.cr_id}"]
    return {
        "statuses": sorted(ChangeRequest.objects.values_list("status", flat=True)),
        "rows": len(factories.rows_of(dataset)),
        "answers": {address: browser.get(address).status_code for address in addresses},
        "code": str(Path(config.__file__).parent.parent),
    }


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(walk(), default=str) + "\n")
