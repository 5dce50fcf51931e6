"""Computes the costs of compiled programs, lists the peak performance of devices, and measures benchmarks."""
