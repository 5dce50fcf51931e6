"""What compiled programs cost, what devices can do, and how fast both are."""
