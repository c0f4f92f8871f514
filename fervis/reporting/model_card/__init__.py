"""The model card of a trained network."""
