"""The page: one file a tab, and the player that they share."""

import os

from dpm_demo.ui.folder import own_folder

# before gradio is imported: it reads both at import
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
own_folder()
