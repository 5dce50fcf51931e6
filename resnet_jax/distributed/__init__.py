"""The device mesh, and the processes of one run: how they join, exchange messages, and stop together."""
