"""Snapshots: an index at one moment, in a folder of its own."""
