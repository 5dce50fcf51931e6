"""--mode=check_data: reads all images of a data set once, and says what would harm training."""
