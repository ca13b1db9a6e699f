"""``python -m headgate.cli``: the command line where its script is not on the path."""

from headgate.cli import main

main()
