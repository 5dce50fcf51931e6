"""Costs of compiled programs, peak FLOPs and bandwidths of devices, and benchmark measurements."""
