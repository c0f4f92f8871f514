"""Architectures that ``model=`` chooses from, one per module."""
