"""Mutation of our own code: single changes to what proves, plans, runs and orders, and the tests that see them."""
