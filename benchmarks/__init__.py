"""Benchmarks: one file a claim; each has ``run(quick=False, ...) -> rows`` and names its peers."""
