"""Methods based on gradients of the target."""
