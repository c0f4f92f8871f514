"""Experiment trackers that ``tracker=`` chooses from, one per module."""
