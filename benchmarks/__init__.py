"""Programs that measure and plot; the package imports none of them."""
