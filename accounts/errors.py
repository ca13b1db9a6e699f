"""What signing in refuses."""

from accounts.scopes import Scope
from datasets.errors import DomainError


class TooManyAttempts(DomainError):
    """Too many passwords were tried lately; ``data["retry_after"]`` says in how many seconds one may be tried again."""

    code = "throttled"

    def __init__(self, seconds: int) -> None:
        wait = f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"
        super().__init__(
            f"Too many failed attempts to sign in. Wait {wait}, then try again.", retry_after=seconds
        )


class ScopeMissing(DomainError):
    """A token was sent that is not for this; ``data["scope"]`` names what it lacks."""

    code = "scope_missing"

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            f"The token lacks the scope {scope.value}. Send one that has it; tokens are made on the account page.",
            scope=scope.value,
        )
