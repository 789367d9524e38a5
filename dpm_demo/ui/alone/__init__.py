"""A finished comparison as one page that plays without a server."""
