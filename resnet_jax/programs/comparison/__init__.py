"""--mode=compare: which of several evaluated runs is better, beyond chance."""
