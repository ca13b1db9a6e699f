"""Doing the merge: claim a run, let the engine work, record what became of it. Called by workers.

Exactly once: the commit in the table's log is the truth, the database row a cache of it. Every step can be repeated:
a run that was begun and not finished is taken up by whoever holds the dataset's lease next, and the engine finds the
marker of a commit that already happened.

In the order in which a merge passes them: ``claiming``, ``recovering`` (what stands already), ``running`` and its
``reporting``, then ``recording`` with its ``audit_files`` or ``ending`` without a merge, and ``clearing``.
"""

from changerequests.services.execution.clearing import clear_staged_content
from changerequests.services.execution.recording import record_merge
from changerequests.services.execution.recovering import result_of_committed, sweep
from changerequests.services.execution.running import merge_next

__all__ = ["clear_staged_content", "merge_next", "record_merge", "result_of_committed", "sweep"]
