"""Training: state, steps, devices, checkpoints, the loop and its log."""
