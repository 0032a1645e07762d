"""Callboard: who is live, what runs where, and the deployments between them."""

__version__ = "0.2.0"
