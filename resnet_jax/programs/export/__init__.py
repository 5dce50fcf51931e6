"""What leaves this program: files that serve without it."""
