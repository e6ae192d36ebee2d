"""Denoising, quotas, greedy k-center and the samplers."""
