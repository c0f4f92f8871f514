"""Networks: architectures, hooks, masking, prediction and weights."""
