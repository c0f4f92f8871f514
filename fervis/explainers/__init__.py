"""Explanation methods that ``explainer=`` chooses from, by family."""
