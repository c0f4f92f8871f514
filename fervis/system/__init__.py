"""Files, hashes, locks, threads, devices, signals and progress; independent of images and networks."""
