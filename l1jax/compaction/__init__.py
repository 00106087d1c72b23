"""Smaller models, and models for where people run them."""
