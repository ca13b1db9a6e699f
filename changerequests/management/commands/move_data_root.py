"""``manage.py move_data_root``: copy what Headgate keeps to another place, and prove that it is whole there."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

import merging
from changerequests.services.moving import move_data_root
from datasets.errors import InvalidInput
from datasets.root_addresses import InvalidPlace, read_options, read_place


class Command(BaseCommand):
    help = (
        "Copy staged content, archives and audit files from DELTA_DATA_ROOT to another folder or object store. Each "
        "file is read back and compared, with the trail and the manifests too. Nothing is removed from the old place. "
        "Stop web and workers first; safe to run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", required=True, help="A folder, or an address such as s3://bucket/prefix.")
        parser.add_argument(
            "--to-options", default="", metavar="NAME=VALUE,…", help="As DELTA_DATA_ROOT_OPTIONS will be."
        )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            place = str(read_place(options["to"]))
            its_options = read_options(filter(None, options["to_options"].split(",")))
            moved = move_data_root(to=place, options=its_options)
        except (InvalidInput, merging.MergeError) as error:
            raise CommandError(error.message) from error
        except InvalidPlace as error:
            raise CommandError(str(error)) from error
        except OSError as error:  # a full disk, a folder that is not for this user
            raise CommandError(
                f"{error} Nothing was removed; when that is mended, run this again."
            ) from error
        for line in moved.differing:
            self.stderr.write(line)
        self.stdout.write(
            f"{moved.files:,} files, {moved.size:,} bytes; {moved.copied:,} of them were copied now."
        )
        if moved.differing:
            raise CommandError(
                f"{len(moved.differing)} files are not whole in {moved.address}; nothing was switched."
            )
        self.stdout.write(
            f"All of them are whole in {moved.address}: compared with the trail and the manifests."
        )
        for table in moved.tables:
            self.stdout.write(
                f"The table at {table} stays where it is: keep it, and add its place to TABLE_PLACES."
            )
        self.stdout.write(f"Set next: DELTA_DATA_ROOT={moved.address}")
        if options["to_options"]:
            self.stdout.write(f"          DELTA_DATA_ROOT_OPTIONS={options['to_options']}")
        self.stdout.write("Then start web and workers, and run manage.py verify_audit.")
