"""The method: lake, features, clustering, the private client, sampling and training.

Knows nothing of Prefect, MLflow or the command line.
"""

__version__ = "0.1.0"
