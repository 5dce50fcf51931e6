"""Files of records (ArrayRecord, TFRecord) as sequences with random access."""
