"""What a person may ask for, within which limits, and the same as a link or text."""
