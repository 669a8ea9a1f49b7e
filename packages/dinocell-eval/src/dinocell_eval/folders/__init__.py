"""Files of true and predicted labels: which belong together, and reading them."""
