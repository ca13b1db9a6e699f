"""One function per user intent. Page, API, admin, task and command all call these.

Every write takes the same five steps: transaction, lock, policy, state and audit event, side effects on commit.
"""
