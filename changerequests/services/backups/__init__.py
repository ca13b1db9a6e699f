"""Copies of an installation that can be proved: its database, and what lies under ``DELTA_DATA_ROOT``.

The database is dumped first and the files are copied after it: a file stands before the database names it, so the copy
has every file that the dump names, but for what was merged or removed meanwhile, which a restore finds in the tables.
"""

from changerequests.services.backups.errors import BackupRefused
from changerequests.services.backups.making import Made, make_backup
from changerequests.services.backups.manifest import Manifest
from changerequests.services.backups.putting_back import put_back

__all__ = ["BackupRefused", "Made", "Manifest", "make_backup", "put_back"]
