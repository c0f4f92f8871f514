"""Class activation maps: activations of a layer weighted by their importance for a target."""
