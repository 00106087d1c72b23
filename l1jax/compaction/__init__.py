"""Trained generators without what is dead in them, and proof that they are the same."""
