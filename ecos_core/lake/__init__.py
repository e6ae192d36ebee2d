"""Images and records in: sources, ingest, content ids, quarantine, snapshots."""
