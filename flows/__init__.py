"""Prefect flows: index_lake, sample_subset, train_downstream, hand_off, and outsource (all of it)."""
