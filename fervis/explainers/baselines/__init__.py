"""Baselines: maps that do not depend on the network, for comparison."""
