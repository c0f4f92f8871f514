"""A sweep's jobs, in this process and in those of launchers."""
