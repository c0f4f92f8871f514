"""Figures over the parts of a study."""
