"""Mechanisms, events, accountants, the planner and the ledger."""
