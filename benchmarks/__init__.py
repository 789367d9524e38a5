"""What is measured, against what: ratios in one process, medians."""
