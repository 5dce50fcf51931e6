"""--mode=export: writes files that serve predictions without this program."""
