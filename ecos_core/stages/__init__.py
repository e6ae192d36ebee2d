"""The steps of an outsourcing, each from references to references: what the command line and the flows both call.

A step that finds its output finished for the same inputs and parameters returns it and does nothing.
"""
