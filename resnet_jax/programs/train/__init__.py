"""--mode=train: joins the processes, builds the experiment, and runs the training loop."""
