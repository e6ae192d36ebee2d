"""Backbones and their fingerprints, decoding, streaming extraction, projection."""
