"""Nodes and coefficients of a solver, fitted to one model by distilling its converged samples."""
