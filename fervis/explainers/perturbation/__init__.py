"""Methods from masked copies of the image."""
