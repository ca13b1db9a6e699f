"""The command line `headgate`: `pip install 'headgate[cli]'`."""

import sys


def main() -> None:
    """Run it; what went wrong is told in a sentence, and by the exit code (``exits``)."""
    try:
        from headgate.cli.application import application
    except ImportError as error:
        sys.stderr.write(
            f"The command line needs more packages ({error.name}): pip install 'headgate[cli]'\n"
        )
        sys.exit(1)
    application()
