"""Visualizers that ``visualizer=`` chooses from, one per module; figures/ is their machinery."""
