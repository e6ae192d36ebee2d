"""Facts about private records in exact whole numbers: each a function of one record and the request alone."""
