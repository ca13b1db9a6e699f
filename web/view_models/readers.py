"""Who reads a page, with their role on its dataset: looked up once, asked many times."""

from dataclasses import dataclass

from django.contrib.auth.models import User

from changerequests.models import ChangeRequest
from datasets.roles import Role, role_on


@dataclass(frozen=True)
class Reader:
    """A person and their role on the dataset that the page is about."""

    user: User
    role: Role | None

    @property
    def contributes(self) -> bool:
        """Whether they may propose, comment and review there."""
        return self.role in (Role.CONTRIBUTOR, Role.OWNER)

    @property
    def owns(self) -> bool:
        """Whether they manage the dataset."""
        return self.role is Role.OWNER


def reader_of(change_request: ChangeRequest, user: User) -> Reader:
    """The person as a reader of the change request."""
    return Reader(user, role_on(user, change_request.dataset))
