"""`python -m pibench`."""

from pibench.cli import main

main()
