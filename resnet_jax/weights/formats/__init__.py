"""One reader per file format of weights; `weights/load.py` chooses among them by the content of the path."""
