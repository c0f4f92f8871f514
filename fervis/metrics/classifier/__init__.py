"""Metrics of a classifier on a split, with intervals."""
