"""Mechanisms, accounting, ledger and planner of the client's differential privacy."""
