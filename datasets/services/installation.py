"""Who this installation is to the tables that it writes."""

from datasets.models import Installation


def installation_identity() -> str:
    """This installation's name in the tables' logs, made once."""
    installation, _ = Installation.objects.get_or_create(singleton=True)
    return f"headgate-{installation.identity.hex}"
