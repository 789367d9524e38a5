"""Solvers side by side: layout, references, figures, files."""
