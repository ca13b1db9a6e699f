"""What ``manage.py check --deploy`` says of an installation beside what Django says."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Info


def mail_is_on(**_: Any) -> list[CheckMessage]:
    """Mail is off unless a server is named: no fault, but nobody should learn it from silence."""
    if settings.SENDS_MAIL:
        return []
    sentence = "Mail is off: people are told in their inbox alone."
    return [Info(sentence, hint="Set EMAIL_URL, and PUBLIC_URL with it.", id="headgate.I001")]
