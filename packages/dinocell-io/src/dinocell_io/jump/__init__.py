"""JUMP Cell Painting: index, selection and copies of its images."""
