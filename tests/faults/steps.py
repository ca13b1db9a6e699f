"""The named steps of a merge, as hooks round the parts of the real code. Installed by ``worker`` and ``web`` only.

In the order in which a merge reaches them:

======================  ================================================================================
claim-event             in the transaction that claims the run
claimed                 that transaction is committed
checking … committing   the engine's phases; at ``committing`` fence, lease and digests are checked already
syncing                 the data files are written and not yet synced
files-written           the data files are durable
artefacts-written       the diff and the images beside them too
before-put, putting     just before the put-if-absent, and at the store's border
after-put               the commit is in the table's log
recording               the engine has verified its commit
audit-files             before the audit files are written
audit-files-written     they are durable
merged-event            in the transaction that records the merge
recorded                that transaction is committed
cleaning, cleaned       before and after the staged content is removed
releasing               before the lease is given back
======================  ================================================================================

Outside of merges: ``planning``, before a check plans a request.

In the web process: ``requesting`` in the transaction that queues a run, ``ringing`` between its commit and its
message, ``rung`` after it.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import merging
import merging.executing.executor
from changerequests import queue
from changerequests.services import storage
from changerequests.services.execution import audit_files, claiming, clearing, recording
from changerequests.services.execution.reporting import Reporter
from changerequests.services.plans import checking
from changerequests.services.trail import record_event
from datasets import leases
from merging.delta import commit
from merging.store.stores import LocalStore
from tests.faults.orders import ORDERS_VARIABLE, Orders

STEPS = (
    "claim-event",
    "claimed",
    "checking",
    "validating",
    "writing",
    "syncing",
    "files-written",
    "artefacts-written",
    "committing",
    "before-put",
    "putting",
    "after-put",
    "recording",
    "audit-files",
    "audit-files-written",
    "merged-event",
    "recorded",
    "cleaning",
    "cleaned",
    "releasing",
)
_EVENTS = {"merge.started": "claim-event", "change_request.merged": "merged-event"}


WEB_STEPS = ("requesting", "ringing", "rung")


def install_in_web() -> None:
    """Put the hooks into a web process."""
    orders = Orders(Path(os.environ[ORDERS_VARIABLE]))
    _wrap(queue, "ring_on_commit", orders, before="requesting")
    _wrap(queue, "ring", orders, before="ringing", after="rung")


def install() -> None:
    """Put the hooks into a worker process."""
    orders = Orders(Path(os.environ[ORDERS_VARIABLE]))
    _wrap(claiming, "claim", orders, after="claimed", only_if=lambda claimed: claimed is not None)
    _wrap(audit_files, "write_audit_files", orders, before="audit-files", after="audit-files-written")
    _wrap(clearing, "after_merge", orders, before="recorded")
    _wrap(storage, "clear_staging", orders, before="cleaning", after="cleaned")
    _wrap(leases, "release", orders, before="releasing")
    _wrap(checking, "plan_of", orders, before="planning")
    _wrap(
        merging.executing.executor,
        "write_artefacts",
        orders,
        before="files-written",
        after="artefacts-written",
    )
    _wrap(LocalStore, "sync", orders, before="syncing")
    _wrap(LocalStore, "put_new", orders, before="putting")
    _name_events(orders)
    _name_phases(orders)
    _warm_up_unseen(orders)
    _replace(merging.executing.executor, "commit", functools.partial(commit, step=orders.reach))


def _wrap(
    owner: Any,
    name: str,
    orders: Orders,
    *,
    before: str = "",
    after: str = "",
    only_if: Callable[[Any], bool] = lambda _: True,
) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def stepping(*arguments: Any, **named: Any) -> Any:
        if before:
            orders.reach(before)
        answer = original(*arguments, **named)
        if after and only_if(answer):
            orders.reach(after)
        return answer

    _replace(owner, name, stepping)


def _name_events(orders: Orders) -> None:
    original = record_event

    @functools.wraps(original)
    def telling(change_request: Any, action: str, *rest: Any, **named: Any) -> None:
        original(change_request, action, *rest, **named)
        if action in _EVENTS:
            orders.reach(_EVENTS[action])

    for module in (claiming, recording):
        _replace(module, "record_event", telling)


def _name_phases(orders: Orders) -> None:
    original = Reporter.__call__

    @functools.wraps(original)
    def reporting(reporter: Any, phase: str, **facts: Any) -> None:
        original(reporter, phase, **facts)
        orders.reach(phase)

    _replace(Reporter, "__call__", reporting)


def _warm_up_unseen(orders: Orders) -> None:
    """A fresh child merges a table of its own before it reports for work: no step of a run."""
    original = merging.warm_up

    @functools.wraps(original)
    def warming() -> None:
        with orders.unheard():
            original()

    _replace(merging, "warm_up", warming)


def _replace(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)
