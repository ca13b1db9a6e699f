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


class TooManyDevices(DomainError):
    """Too many programs wait at one address for their person to let them in."""

    code = "throttled"

    def __init__(self, seconds: int) -> None:
        super().__init__(
            "Too many programs wait to be let in at this address. Let them in or wait ten minutes, then try again.",
            retry_after=seconds,
        )


class SignInDenied(DomainError):
    """The person did not let the program in."""

    code = "sign_in_denied"

    def __init__(self) -> None:
        super().__init__("The person did not let this program in.")


class SignInExpired(DomainError):
    """A program polls with a code that holds no longer."""

    code = "sign_in_expired"

    def __init__(self) -> None:
        super().__init__("This sign-in is over: nobody decided in time, or its token was taken. Begin again.")


class InvitationOver(DomainError):
    """The address of an invitation opens nothing: it was taken up, withdrawn, replaced, or a week has passed."""

    code = "invitation_over"

    def __init__(self) -> None:
        super().__init__(
            "This invitation is over: it was used, withdrawn or replaced by a newer one, or a week has passed. "
            "Ask whoever invited you for another."
        )


class PasswordsOff(DomainError):
    """A password was sent where passwords open nothing."""

    code = "passwords_off"

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"Passwords are switched off here. Sign in with {provider} in a browser; let programs in by device."
        )


class ProviderFailed(DomainError):
    """The provider did not answer, or its answer cannot be believed; the message says which."""

    code = "provider_failed"


class SignInRefused(DomainError):
    """The provider vouches for somebody who may not come in."""

    code = "sign_in_refused"


class EmailTaken(DomainError):
    """Somebody comes for the first time with an e-mail address that an account here has already."""

    code = "email_taken"

    def __init__(self, provider: str, *, passwords: bool) -> None:
        way = (
            f"Sign in to it with its password and link it to {provider} on your account page, or ask an operator to "
            "link it."
            if passwords
            else "Ask an operator to link it."
        )
        super().__init__(
            f"An account here has your e-mail address already, and was never linked to {provider}. {way}"
        )


class IdentityTaken(DomainError):
    """One person of the provider has one account, and one account one person."""

    code = "identity_taken"


class LinkOver(DomainError):
    """A link that signs somebody in once was used, is older than ten minutes, or is not ours."""

    code = "sign_in_link_over"

    def __init__(self) -> None:
        super().__init__(
            "This link is over: it was used, or ten minutes have passed. Ask for another with manage.py sign_in_link."
        )
