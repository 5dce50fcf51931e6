"""--mode=eval: accuracy of given weights, as a certificate."""
