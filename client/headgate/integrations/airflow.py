"""Apache Airflow: tasks that propose a file, and that merge what was proposed. Needs ``apache-airflow`` 2.10 or newer.

Where the server is and the token come from ``HEADGATE_URL`` and ``HEADGATE_TOKEN`` of the worker, or from a connection
of Airflow's (``headgate_conn_id``: its host is the address, its password the token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from airflow.sdk import BaseHook, BaseOperator
except ImportError:  # before Airflow 3
    from airflow.hooks.base import BaseHook
    from airflow.models.baseoperator import BaseOperator

from headgate.protocol import derived_key
from headgate.synchronous.client import Client


class _HeadgateOperator(BaseOperator):
    """What the tasks share: where the server is."""

    def __init__(self, *, headgate_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.headgate_conn_id = headgate_conn_id

    def client(self) -> Client:
        """The client that the task's connection, or its environment, names."""
        if self.headgate_conn_id is None:
            return Client(progress=False)
        found = BaseHook.get_connection(self.headgate_conn_id)
        return Client(found.host, found.password, progress=False)


class ProposeOperator(_HeadgateOperator):
    """Propose the rows of a file; gives the public id (``CR-7``), or None where the rows equal the table.

    A task that is tried again proposes nothing twice: its key is that of the run and the task.
    """

    template_fields: Sequence[str] = ("dataset", "path", "title", "description")

    def __init__(
        self,
        *,
        dataset: str,
        path: str,
        title: str,
        description: str = "",
        submit: bool = True,
        merge_when_ready: bool = False,
        timeout: float = 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset, self.path, self.title, self.description = dataset, path, title, description
        self.submit, self.merge_when_ready, self.timeout = submit, merge_when_ready, timeout

    def execute(self, context: Any) -> str | None:
        """Send the file and wait until it is read. Raises ``headgate.HeadgateError``."""
        with self.client() as client:
            made = client.dataset(self.dataset).propose(
                self.path,
                title=self.title,
                description=self.description,
                submit=self.submit,
                merge_when_ready=self.merge_when_ready,
                on_nothing_to_change="ignore",
                idempotency_key=derived_key(context["run_id"], self.task_id),
            )
            waited = made and made.wait(self.timeout)
            return waited.cr_id if waited else None


class MergeOperator(_HeadgateOperator):
    """Merge a change request and wait; gives the table's version. What has no request is done already."""

    template_fields: Sequence[str] = ("cr_id",)

    def __init__(self, *, cr_id: str | None, message: str = "", timeout: float = 3600, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cr_id, self.message, self.timeout = cr_id, message, timeout

    def execute(self, context: Any) -> int | None:
        """Merge. Raises ``headgate.HeadgateError``: ``Blocked`` where people have to approve first, and the like."""
        if not self.cr_id or self.cr_id == "None":  # templates turn what a task gave into text
            return None
        with self.client() as client:
            run = client.change_request(self.cr_id).merge(message=self.message, timeout=self.timeout)
        return run["result"]["merged_version"] if run["result"] else None
