"""The canvas that paints a run, and what feeds it."""
