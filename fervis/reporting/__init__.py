"""HTML pages and model cards, made from the files of a run, sweep or training."""
