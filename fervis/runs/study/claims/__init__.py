"""Claims about a network, each divided into statements that a test can contradict, with a verdict for each."""
