"""What is measured, against what: ratios in one process, medians."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line and the page have it
