"""What the networks minimise: adversarial, variational and reconstruction losses, regularisers."""
