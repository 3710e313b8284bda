"""Run the command line as `python -m pibench`."""

import sys

try:
    from pibench.cli import main
except KeyboardInterrupt:
    sys.exit(130)

main()
