"""What the machine gives: files that appear complete, locks, forks, memory, cores."""
