"""Costs of compiled programs, peaks of devices, and measurements of both."""
