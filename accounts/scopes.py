"""What a token may be used for. A token can never do more than the person who made it."""

from enum import StrEnum


class Scope(StrEnum):
    """One kind of operation; none includes another."""

    READ = "read"
    PROPOSE = "propose"
    REVIEW = "review"
    MERGE = "merge"
    ADMIN = "admin"


#: What each scope allows, in a sentence for people.
SENTENCES = {
    Scope.READ: "Look at datasets, rows, change requests and runs.",
    Scope.PROPOSE: "Make change requests, upload to them, edit, submit, close and reopen them.",
    Scope.REVIEW: "Review, comment, and settle discussions.",
    Scope.MERGE: "Merge change requests, answer for broken expectations, and cancel merges.",
    Scope.ADMIN: "Manage datasets, members, expectations and tables, read the audit trail, manage one's own tokens.",
}
