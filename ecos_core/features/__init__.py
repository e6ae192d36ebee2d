"""Backbones and their fingerprints, decoding and preprocessing, streaming extraction, projection."""
