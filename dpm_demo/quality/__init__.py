"""How good samples are: features, metrics, sweeps, and the report."""
