"""The command line: the Hydra application, commands, help, completion and clean-up."""
