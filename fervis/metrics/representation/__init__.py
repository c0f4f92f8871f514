"""Comparison of representations: CKA, layer statistics, image symmetries."""
