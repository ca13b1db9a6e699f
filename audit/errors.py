"""What can go wrong with the trail."""


class AuditError(Exception):
    """The audit trail cannot be written, or is not what it was."""

    code = "audit_failed"


class EventsAreAppendOnly(AuditError):
    """Somebody tried to change or delete an entry of the trail."""

    code = "audit_append_only"


class AuditFileExists(AuditError):
    """An audit file is there already with other content; audit files are never changed."""

    code = "audit_file_exists"


class InvalidMoment(AuditError):
    """A time that somebody gave cannot be understood."""

    code = "invalid"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
