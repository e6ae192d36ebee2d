"""The ``ecos`` command: thin, lazily imported, JSON everywhere, an exit code that means something."""
