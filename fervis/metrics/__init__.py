"""Numbers: classifier metrics, comparison of representations and maps, bootstrap."""
