"""Diagnostics of the whole network: confusion matrix, training dynamics."""
