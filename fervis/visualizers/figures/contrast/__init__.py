"""Figures of two classes that a network confuses."""
