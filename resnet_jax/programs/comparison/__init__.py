"""--mode=compare: tests which of several evaluated runs have significantly different accuracies."""
