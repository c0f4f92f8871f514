"""From one config to one folder: set up, load, explain, draw, write, track; sweeps, studies, trainings."""
