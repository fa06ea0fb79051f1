"""Mutation of our own code: single changes to what proves, plans, runs and orders, and who sees them."""
