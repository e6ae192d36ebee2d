"""k-means fit and streaming assignment: one module a backend, one signature."""
