"""Where uploaded files are received: on the disk where they wait for a worker, whatever their size."""

import tempfile
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler

from changerequests.services.storage import incoming_folder


class FileBesideUploads(TemporaryUploadedFile):
    """A file that is received; its service links it, and the end of the request removes it here."""

    def __init__(
        self,
        name: str | None,
        content_type: str | None,
        size: int,
        charset: str | None,
        content_type_extra: Any = None,
    ) -> None:
        folder = incoming_folder()
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(suffix=".upload", dir=folder)  # noqa: SIM115  (closed with the request)
        UploadedFile.__init__(self, file, name, content_type, size, charset, content_type_extra)


class UploadOnDisk(TemporaryFileUploadHandler):
    """Every upload in a file beside those that wait."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        FileUploadHandler.new_file(self, *args, **kwargs)
        self.file = FileBesideUploads(
            self.file_name, self.content_type, 0, self.charset, self.content_type_extra
        )


class NamesOfFiles(FileUploadHandler):
    """Of every file its name alone: for forms of people who are not signed in, who are asked for it again."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Throw away what comes."""

    def file_complete(self, file_size: int) -> UploadedFile:
        return SimpleUploadedFile(self.file_name or "file", b"")
