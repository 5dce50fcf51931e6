"""A batch: from stored bytes to the input of the network."""
