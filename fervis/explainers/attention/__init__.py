"""Methods based on the attention matrices of transformers."""
