"""Where uploaded files wait until a service has read them."""

import os
from typing import Any

from django.core.files.uploadhandler import TemporaryFileUploadHandler

#: Of the end of a file's name: more tells no format, and would make the name of the temporary file too long.
LONGEST_SUFFIX = 20


class UploadOnDisk(TemporaryFileUploadHandler):
    """Every upload in a temporary file, whatever its name."""

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        stem, suffix = os.path.splitext(file_name)
        super().new_file(field_name, stem + suffix[:LONGEST_SUFFIX], *args, **kwargs)
