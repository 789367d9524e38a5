"""Pictures and clips as files and bytes; no torch."""
