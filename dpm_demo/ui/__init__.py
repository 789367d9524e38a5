"""The page: one file a tab, and the player that they share."""
