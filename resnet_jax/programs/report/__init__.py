"""--mode=report: writes report.html, one file that shows a run or compares several. Runs also write it when they end."""
