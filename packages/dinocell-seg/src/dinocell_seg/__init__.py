"""Cell segmentation: train, calibrate and run DINOCell on images of any size."""
