"""Microscope images and labels from files: readers, writers, dataset folders and a field simulator."""
