"""Methods from gradients of the target."""
