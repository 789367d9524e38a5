"""Data, loss and loop: how the checkpoints were made, and how to make your own."""
