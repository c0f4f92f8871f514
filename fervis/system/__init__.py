"""Files, hashes, locks, threads, devices, signals and progress; knows neither images nor networks."""
