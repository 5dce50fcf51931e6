"""--mode=eval: evaluates a checkpoint or other weights and writes a certificate of the result."""
