"""What the networks minimise: adversarial losses, gradient penalties, consistency, reconstruction."""
