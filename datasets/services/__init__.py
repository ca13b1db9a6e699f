"""What people do with datasets: register, change settings, reconcile with the table, look at rows and history."""

from datasets.services.creation import NewColumn, NewTable, create_dataset
from datasets.services.differences import acknowledge_difference, note_difference
from datasets.services.installation import installation_identity
from datasets.services.meta import reconcile, reconcile_all, remember_table
from datasets.services.places import Folder, TablePlace, look_into, roots
from datasets.services.projects import (
    EDITABLE_OF_PROJECT,
    change_project,
    create_project,
    delete_project,
    project_digest,
)
from datasets.services.reading import (
    compare_versions,
    history,
    known_table,
    naming_gone_versions,
    newest_version,
    preview,
    sizes,
    stream_rows,
    table_at,
)
from datasets.services.registration import (
    NewProject,
    TableLook,
    look_at_table,
    may_register_somewhere,
    register_dataset,
    require_registrar,
)
from datasets.services.settings import (
    CHANGE_SETTINGS,
    EDITABLE_SETTINGS,
    allow_files_elsewhere,
    change_settings,
    settings_digest,
)

__all__ = [
    "CHANGE_SETTINGS",
    "EDITABLE_OF_PROJECT",
    "EDITABLE_SETTINGS",
    "Folder",
    "NewColumn",
    "NewProject",
    "NewTable",
    "TableLook",
    "TablePlace",
    "acknowledge_difference",
    "allow_files_elsewhere",
    "change_project",
    "change_settings",
    "compare_versions",
    "create_dataset",
    "create_project",
    "delete_project",
    "history",
    "installation_identity",
    "known_table",
    "look_at_table",
    "look_into",
    "may_register_somewhere",
    "naming_gone_versions",
    "newest_version",
    "note_difference",
    "preview",
    "project_digest",
    "reconcile",
    "reconcile_all",
    "register_dataset",
    "remember_table",
    "require_registrar",
    "roots",
    "settings_digest",
    "sizes",
    "stream_rows",
    "table_at",
]
