"""--mode=export: writes a trained network in formats that run without this program."""
