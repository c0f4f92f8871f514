"""Types, protocols, targets, layers, results and the registry: the interface for authors of plug-ins."""
