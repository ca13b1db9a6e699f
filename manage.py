#!/usr/bin/env python
"""Django's command line for Headgate."""

import sys

from django.core.management import execute_from_command_line

from config.env import choose_settings


def main() -> None:
    choose_settings()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
