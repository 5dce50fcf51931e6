"""--mode=sweep: trains every combination of some settings with every seed, and compares them."""
