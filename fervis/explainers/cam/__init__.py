"""Class activation maps: activations of a layer weighed by what a target owes to them."""
