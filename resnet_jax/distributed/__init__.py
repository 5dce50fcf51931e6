"""The device mesh, and the processes of one run: how they connect, exchange messages and stop together."""
