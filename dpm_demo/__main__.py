"""`python -m dpm_demo COMMAND`, the same as `dpm-demo COMMAND`."""

import sys

from dpm_demo.cli.main import entry, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(entry())
