"""What the models say is valid, as this application's own error."""

from collections.abc import Collection

from django.core.exceptions import ValidationError

from datasets.errors import InvalidInput
from datasets.models import Connection, Dataset, Project


def require_valid(instance: Project | Dataset | Connection, *, exclude: Collection[str] = ()) -> None:
    """Raise ``InvalidInput`` with what is wrong, field by field, but for fields that come later."""
    try:
        instance.full_clean(exclude=exclude)
    except ValidationError as error:
        sentences = " ".join(f"{field}: {' '.join(found)}" for field, found in error.message_dict.items())
        raise InvalidInput(sentences, errors=error.message_dict) from error
