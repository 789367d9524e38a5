"""The page. `python app.py --help` says what an operator can set."""

import sys

from dpm_demo.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]], program="app.py"))
