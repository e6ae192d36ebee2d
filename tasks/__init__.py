"""Prefect tasks: one module a stage, each a few lines around a core call; retries and artifacts.

Tasks take and return references (paths, ids, small dicts), never arrays. What is done is known by the artefacts on
disk: a task that finds its output finished returns at once, so Prefect's own result cache stays off.
"""
