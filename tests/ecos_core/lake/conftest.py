from tests.s3_support import bucket, s3_endpoint  # noqa: F401 - fixtures
