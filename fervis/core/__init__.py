"""Types, protocols, targets, layers, results and the registry: all that a plug-in author needs to know."""
