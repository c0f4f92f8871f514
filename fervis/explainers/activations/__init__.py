"""Activations of filters: feature maps and the images that activate a filter most."""
