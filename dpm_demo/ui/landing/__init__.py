"""What the page shows before anyone clicks: a recorded comparison, and the same live."""
