"""User names that only service accounts have. Pure."""

from typing import Final

#: How the user name of a service account ends.
SERVICE_SUFFIX: Final = "@service"


def is_service_name(username: str) -> bool:
    """Whether an account of this name is a pipeline's and no person's."""
    return username.endswith(SERVICE_SUFFIX)
