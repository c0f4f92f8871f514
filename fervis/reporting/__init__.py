"""HTML pages and model cards, written from the files of a run, sweep or training."""
