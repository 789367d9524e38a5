"""Networks, and what they mean as denoisers."""
