"""Secrets: encrypted at rest, opened for the run that needs them, masked in whatever leaves it."""
