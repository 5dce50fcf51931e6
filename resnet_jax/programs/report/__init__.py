"""--mode=report: writes report.html, which shows a run or compares several. A run also writes its own when it ends."""
