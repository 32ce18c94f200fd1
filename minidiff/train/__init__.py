"""One training loop, its moving average, and how a run is kept."""
