"""What is looked at during a run: monitors, alarms, pictures and the log."""
