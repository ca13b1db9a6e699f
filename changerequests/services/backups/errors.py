"""What is in the way of a backup, or of putting one back."""


class BackupRefused(Exception):
    """Nothing was written where this is raised before, and what was written is to be thrown away where it is after."""
