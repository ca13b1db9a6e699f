"""What the models say is valid, as this application's own error."""

from django.core.exceptions import ValidationError

from datasets.errors import InvalidInput
from datasets.models import Dataset, Project


def require_valid(instance: Project | Dataset) -> None:
    """Raise ``InvalidInput`` with what is wrong, field by field."""
    try:
        instance.full_clean()
    except ValidationError as error:
        sentences = " ".join(f"{field}: {' '.join(found)}" for field, found in error.message_dict.items())
        raise InvalidInput(sentences, errors=error.message_dict) from error
