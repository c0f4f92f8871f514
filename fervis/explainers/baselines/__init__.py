"""Baselines: maps that know nothing of the network, for comparison."""
