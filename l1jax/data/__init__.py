"""Real images: sources, and batches whose order is a function of seed and step."""
