"""Bundles on the Hub: an adapter, its memories and what they are worth, in one place for others to use."""
