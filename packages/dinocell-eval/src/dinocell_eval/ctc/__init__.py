"""Folders, label files and logs as the Cell Tracking Challenge lays them out."""
