"""--mode=report, and the end of a run: report.html, one file that shows a run, or several side by side."""
