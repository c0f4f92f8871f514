"""Evidence: is an explanation right? Measures that ``evidence=`` chooses from, by family."""
