"""The page. `python app.py --help` says what an operator can set."""

from dpm_demo.ui.page import main

if __name__ == "__main__":
    main()
