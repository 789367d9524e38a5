"""Pictures and clips as pixels, files and bytes."""
