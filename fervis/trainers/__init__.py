"""Training: the trainer plug-in, augmentation, optimisation, distribution and state."""
