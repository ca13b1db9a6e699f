"""What people do with datasets: register, change settings, reconcile with the table, look at rows and history."""

from datasets.services.differences import acknowledge_difference, note_difference
from datasets.services.installation import installation_identity
from datasets.services.meta import reconcile, reconcile_all, remember_table
from datasets.services.projects import create_project
from datasets.services.reading import history, preview, table_at
from datasets.services.registration import register_dataset
from datasets.services.settings import (
    CHANGE_SETTINGS,
    EDITABLE_SETTINGS,
    allow_files_elsewhere,
    change_settings,
    settings_digest,
)

__all__ = [
    "CHANGE_SETTINGS",
    "EDITABLE_SETTINGS",
    "acknowledge_difference",
    "allow_files_elsewhere",
    "change_settings",
    "create_project",
    "history",
    "installation_identity",
    "note_difference",
    "preview",
    "reconcile",
    "reconcile_all",
    "register_dataset",
    "remember_table",
    "settings_digest",
    "table_at",
]
