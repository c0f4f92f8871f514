"""The contract of explainers as named checks, for plug-ins of fervis and of others: ``fervis.check_explainer``."""
